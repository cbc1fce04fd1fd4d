import { MINUTE, type Milliseconds, SECOND } from "../time.ts"

/**
 * What the configuration must know of each type of source: one entry a CMS. The adapter of the same name stands in
 * `worker/sources/`.
 */
export interface SourceTraits {
  /** How far from now a signed time may lie, in both directions; undefined where the sender signs no time. */
  readonly tolerance?: Milliseconds
  /** How long after a publish its read API may still answer with the old content. `0`: fresh at once. */
  readonly settle: Milliseconds
  readonly secondPass: Milliseconds
  /** Whether deliveries carry a signature; without one the source needs `auth`. */
  readonly signed: boolean
  /** Whether what is signed is verified by keys that the sender publishes, so that there is no secret. Default false. */
  readonly publicKeys?: boolean
}

export const SOURCE_TRAITS = {
  // Tried again for a day, each time as it was signed at first: no tolerance would fit.
  "adobe-io-events": { settle: 0, secondPass: 0, signed: true, publicKeys: true },
  "builder-io": { settle: 0, secondPass: 0, signed: false },
  // The toolkit's default time to live of a signature is 30 s:
  // https://github.com/contentful/node-apps-toolkit (src/requests/verify-request.ts)
  // Its delivery API may answer with the old content for some 20 s after the webhook:
  // https://github.com/contentful/contentful.js/issues/245; "5 seconds to 2 minutes" says
  // https://github.com/contentful/jekyll-contentful-data-import/issues/38. Purged at once and once more then: a page
  // that was fresh already is not kept stale by the wait.
  contentful: { tolerance: 30 * SECOND, settle: 0, secondPass: 20 * SECOND, signed: true },
  contentstack: { tolerance: 5 * MINUTE, settle: 0, secondPass: 0, signed: true },
  datocms: { settle: 0, secondPass: 0, signed: false },
  directus: { settle: 0, secondPass: 0, signed: false },
  drupal: { settle: 0, secondPass: 0, signed: false },
  ghost: { tolerance: 5 * MINUTE, settle: 0, secondPass: 0, signed: true },
  github: { settle: 0, secondPass: 0, signed: true },
  // The endpoint that is not the high performance one may be behind by up to 30 s:
  // https://hygraph.com/docs/api-reference/basics/caching
  hygraph: { tolerance: 5 * MINUTE, settle: 0, secondPass: 30 * SECOND, signed: true },
  json: { settle: 0, secondPass: 0, signed: false },
  "kontent-ai": { settle: 0, secondPass: 0, signed: true },
  netlify: { settle: 0, secondPass: 0, signed: true },
  // Its hooks run before the change is committed, and a page made in between is old once more:
  // https://github.com/payloadcms/payload/issues/5886. How long that takes nobody says; the time is ours.
  payload: { tolerance: 5 * MINUTE, settle: 0, secondPass: 5 * SECOND, signed: true },
  prismic: { settle: 0, secondPass: 0, signed: false },
  // Its own toolkit for Next.js waits 3 s before it reads again, as the webhook comes before the indexes are whole:
  // https://github.com/sanity-io/nextjs-blog-cms-sanity-v3/issues/97; its CDN may answer with the old content for some
  // 60 s: https://github.com/sanity-io/next-sanity/issues/639.
  sanity: { tolerance: 5 * MINUTE, settle: 3 * SECOND, secondPass: MINUTE, signed: true },
  shopify: { settle: 0, secondPass: 0, signed: true },
  "standard-webhooks": { tolerance: 5 * MINUTE, settle: 0, secondPass: 0, signed: true },
  // Whoever renders asks which version of the content there is, and is told the last one for 2 s more:
  // https://github.com/storyblok/monoblok/pull/761, https://github.com/storyblok/storyblok-js-client/issues/806
  storyblok: { settle: 0, secondPass: 5 * SECOND, signed: true },
  strapi: { settle: 0, secondPass: 0, signed: false },
  svix: { tolerance: 5 * MINUTE, settle: 0, secondPass: 0, signed: true },
  vercel: { settle: 0, secondPass: 0, signed: true },
  webflow: { tolerance: 5 * MINUTE, settle: 0, secondPass: 0, signed: true },
  woocommerce: { settle: 0, secondPass: 0, signed: true },
  // Of our own plugin for it; what the plugin WP Webhooks signs holds no time.
  wordpress: { tolerance: 5 * MINUTE, settle: 0, secondPass: 0, signed: true },
} as const satisfies Record<string, SourceTraits>

export type SourceType = keyof typeof SOURCE_TRAITS
