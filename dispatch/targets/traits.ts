import { akamaiTraits } from "./akamai.ts"
import { azureFrontDoorTraits } from "./azure-front-door.ts"
import { bunnyTraits } from "./bunny.ts"
import { cloudflareKvTraits } from "./cloudflare-kv.ts"
import { cloudflareTraits } from "./cloudflare.ts"
import { cloudfrontTraits } from "./cloudfront.ts"
import { edgeConfigTraits } from "./edge-config.ts"
import { fastlyTraits } from "./fastly.ts"
import { gcoreTraits } from "./gcore.ts"
import { googleCloudCdnTraits } from "./google-cloud-cdn.ts"
import { httpTraits } from "./http.ts"
import { keycdnTraits } from "./keycdn.ts"
import { netlifyTraits } from "./netlify.ts"
import { nextjsTraits } from "./nextjs.ts"
import { nginxTraits } from "./nginx.ts"
import { printTraits } from "./print.ts"
import { souinTraits } from "./souin.ts"
import { varnishTraits } from "./varnish.ts"
import { vercelTraits } from "./vercel.ts"
import { workersCacheTraits } from "./workers-cache.ts"
import type { TargetTraits } from "./target.ts"

/** What each type of target can do, without how it is asked: as much as a Worker needs of `list.ts`. */
export const TARGET_TRAITS: readonly TargetTraits[] = [
  varnishTraits,
  cloudflareTraits,
  fastlyTraits,
  cloudfrontTraits,
  akamaiTraits,
  googleCloudCdnTraits,
  azureFrontDoorTraits,
  bunnyTraits,
  keycdnTraits,
  vercelTraits,
  netlifyTraits,
  gcoreTraits,
  nginxTraits,
  souinTraits,
  nextjsTraits,
  workersCacheTraits,
  cloudflareKvTraits,
  edgeConfigTraits,
  httpTraits,
  printTraits,
]
