import { akamai } from "./akamai.ts"
import { azureFrontDoor } from "./azure-front-door.ts"
import { bunny } from "./bunny.ts"
import { cloudflareKv } from "./cloudflare-kv.ts"
import { cloudflare } from "./cloudflare.ts"
import { cloudfront } from "./cloudfront.ts"
import { edgeConfig } from "./edge-config.ts"
import { fastly } from "./fastly.ts"
import { gcore } from "./gcore.ts"
import { googleCloudCdn } from "./google-cloud-cdn.ts"
import { http } from "./http.ts"
import { keycdn } from "./keycdn.ts"
import { netlify } from "./netlify.ts"
import { nextjs } from "./nextjs.ts"
import { nginx } from "./nginx.ts"
import { print } from "./print.ts"
import { souin } from "./souin.ts"
import type { TargetDriver } from "./target.ts"
import { varnish } from "./varnish.ts"
import { vercel } from "./vercel.ts"
import { workersCache } from "./workers-cache.ts"

/** Every driver there is: a new vendor is its file, its options in `protocol/config/` and a line here. */
export const TARGETS: readonly TargetDriver[] = [
  varnish,
  cloudflare,
  fastly,
  cloudfront,
  akamai,
  googleCloudCdn,
  azureFrontDoor,
  bunny,
  keycdn,
  vercel,
  netlify,
  gcore,
  nginx,
  souin,
  nextjs,
  workersCache,
  cloudflareKv,
  edgeConfig,
  http,
  print,
]

/** The driver of a type of target; undefined when there is none. */
export const findDriver = (type: string): TargetDriver | undefined =>
  TARGETS.find((driver) => driver.type === type)
