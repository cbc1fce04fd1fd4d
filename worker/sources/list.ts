import { adobeIoEvents } from "./adobe-io-events.ts"
import { builderIo } from "./builder-io.ts"
import { contentful } from "./contentful.ts"
import { contentstack } from "./contentstack.ts"
import { datocms } from "./datocms.ts"
import { directus } from "./directus.ts"
import { drupal } from "./drupal.ts"
import { ghost } from "./ghost.ts"
import { github } from "./github.ts"
import { hygraph } from "./hygraph.ts"
import { json } from "./json.ts"
import { kontentAi } from "./kontent-ai.ts"
import { netlify } from "./netlify.ts"
import { payload } from "./payload.ts"
import { prismic } from "./prismic.ts"
import { sanity } from "./sanity.ts"
import { shopify } from "./shopify.ts"
import type { SourceAdapter } from "./source.ts"
import { standardWebhooks } from "./standard-webhooks.ts"
import { storyblok } from "./storyblok.ts"
import { strapi } from "./strapi.ts"
import { svix } from "./svix.ts"
import { vercel } from "./vercel.ts"
import { webflow } from "./webflow.ts"
import { woocommerce } from "./woocommerce.ts"
import { wordpress } from "./wordpress.ts"

/** Every source there is. */
export const SOURCES: readonly SourceAdapter[] = [
  adobeIoEvents,
  builderIo,
  contentful,
  contentstack,
  datocms,
  directus,
  drupal,
  ghost,
  github,
  hygraph,
  json,
  kontentAi,
  netlify,
  payload,
  prismic,
  sanity,
  shopify,
  standardWebhooks,
  storyblok,
  strapi,
  svix,
  vercel,
  webflow,
  woocommerce,
  wordpress,
]
