import * as z from "zod/mini"
import { carriesUser } from "../address.ts"
import { duration } from "../schema.ts"
import { HOUR } from "../time.ts"
import { parseDns } from "./dns-name.ts"
import { secretSchema } from "./secret-schema.ts"

/**
 * What each type of target takes besides the keys that all share: one entry a vendor. The driver of the same name
 * stands in `dispatch/targets/`; the vendor's docs page explains each key.
 */

const isLoopback = (url: URL): boolean => /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname)

function parseUrl(text: string): URL | undefined {
  try {
    return new URL(text)
  } catch {
    return undefined
  }
}

/** https, or http on loopback: credentials go there. */
export const vendorUrl = z.string().check(
  z.refine(
    (text) => {
      const url = parseUrl(text)
      return (
        url !== undefined &&
        !carriesUser(url) &&
        (url.protocol === "https:" || (url.protocol === "http:" && isLoopback(url)))
      )
    },
    { error: "must be an https URL (http only on loopback) without a user" },
  ),
)

const httpUrl = z.string().check(
  z.refine(
    (text) => {
      const url = parseUrl(text)
      return url !== undefined && !carriesUser(url) && /^https?:$/.test(url.protocol)
    },
    { error: "must be an http or https URL without a user" },
  ),
)

const text = (form: RegExp, error: string) => z.string().check(z.regex(form, { error }))
/** What goes into a path of a vendor's API as it is. */
const segment = text(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, "must be letters, digits, '.', '_' and '-'")
const flag = z._default(z.boolean(), false)
const dnsUrl = z
  .string()
  .check(z.refine((name) => parseDns(name) !== undefined, { error: "must be dns://name:port" }))
const ENDPOINTS = "must be a list of URLs, one for each node, or dns://name:port"
const nodes = z.array(
  z.union([httpUrl, dnsUrl], { error: "must be an http or https URL, or dns://name:port" }),
)
/** Every node by its own address, or a name that leads to all of them. */
const endpoints = z.union([nodes.check(z.minLength(1)), dnsUrl], { error: ENDPOINTS })
const count = z.int().check(z.gte(1))

export const TARGET_OPTIONS = {
  /** `endpoints`: every Varnish node by its own address; `"dev"` is the one that `tidemark dev` starts. */
  varnish: {
    endpoints: z.union([z.literal("dev"), endpoints], { error: `must be "dev", or ${ENDPOINTS.slice(8)}` }),
  },
  cloudflare: {
    zone: text(/^[0-9a-f]{32}$/i, "must be the 32 hex digits of a zone id"),
    token: secretSchema,
    plan: z.enum(["free", "pro", "business", "enterprise"]),
  },
  fastly: {
    service: text(/^[A-Za-z0-9]{1,64}$/, "must be the letters and digits of a service id"),
    token: secretSchema,
  },
  /** `tags`: whether the distribution has a `CacheTagConfig`. `completesIn`: how long a path counts as in progress. */
  cloudfront: {
    distribution: text(/^[A-Z0-9]{1,32}$/, "must be the capitals and digits of a distribution id"),
    accessKeyId: secretSchema,
    secretAccessKey: secretSchema,
    sessionToken: z.optional(secretSchema),
    tags: flag,
    maxPathsPerMonth: z.optional(count),
    completesIn: z.prefault(duration(HOUR, 1), "1m"),
  },
  akamai: {
    host: text(/^[a-z0-9][a-z0-9.-]{0,252}$/, "must be the host of the API client's credentials"),
    clientToken: secretSchema,
    clientSecret: secretSchema,
    accessToken: secretSchema,
    network: z._default(z.enum(["production", "staging"]), "production"),
    cpCodes: z.optional(z.array(count).check(z.minLength(1), z.maxLength(100))),
  },
  /** `key`: the JSON of a service account's key. */
  "google-cloud-cdn": { project: segment, urlMap: segment, key: secretSchema },
  /** `authority`: instead of the address that gives access tokens, as `endpoint` for the rest. */
  "azure-front-door": {
    subscription: segment,
    resourceGroup: text(/^[\w().-]{1,90}$/, "must be the name of a resource group"),
    profile: segment,
    endpointName: segment,
    directory: segment,
    clientId: segment,
    clientSecret: secretSchema,
    authority: z.optional(vendorUrl),
  },
  bunny: { pullZone: count, token: secretSchema },
  /**
   * `zoneHost`: the zone's own host, in whose name URLs are purged. `tags`: whether the zone is purged by tags, which
   * KeyCDN does not list among what its API does.
   */
  keycdn: {
    zone: count,
    token: secretSchema,
    zoneHost: z.optional(
      text(/^[a-z0-9][a-z0-9.-]{0,252}$/, "must be the zone's host, such as name-1a2b.kxcdn.com"),
    ),
    tags: flag,
    perMinute: z._default(count, 20),
  },
  vercel: {
    project: segment,
    token: secretSchema,
    team: z.optional(segment),
    environment: z.optional(z.enum(["production", "preview"])),
  },
  netlify: { site: segment, token: secretSchema },
  gcore: { resource: count, token: secretSchema },
  /** `wildcards`: whether the module takes `*` at the end of a key, which it does from 2.4 on; Plus always does. */
  nginx: { endpoints, module: z.enum(["cache-purge", "plus"]), wildcards: flag },
  /** `expressions`: whether its storage finds pages by regular expressions, which not every one does. */
  souin: { endpoints, token: z.optional(secretSchema), expressions: flag },
  /** `prefixes`: whether the app's routes lie under `app/` as its addresses do, as far as prefixes go. */
  nextjs: { url: vendorUrl, secret: secretSchema, prefixes: flag },
  /** `plan`: whose limits to keep. Cloudflare has those of `free` for every Worker's cache, for now. */
  "workers-cache": {
    url: vendorUrl,
    secret: secretSchema,
    plan: z._default(z.enum(["free", "pro", "business", "enterprise"]), "free"),
  },
  /** Mirrors of epochs. `heartbeat`: how often they are written though nothing was published. */
  "cloudflare-kv": {
    accountId: text(/^[0-9a-f]{32}$/i, "must be the 32 hex digits of an account id"),
    kvNamespace: text(/^[0-9a-f]{32}$/i, "must be the 32 hex digits of a KV namespace's id"),
    token: secretSchema,
    heartbeat: z.prefault(duration(24 * HOUR, 1_000), "2m"),
  },
  "edge-config": {
    edgeConfig: text(/^ecfg_[A-Za-z0-9]{1,64}$/, "must be the id of an Edge Config, ecfg_…"),
    token: secretSchema,
    team: z.optional(segment),
    heartbeat: z.prefault(duration(24 * HOUR, 1_000), "1h"),
  },
  http: { url: vendorUrl, secret: secretSchema },
  print: {},
} as const
