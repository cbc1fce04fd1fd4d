import { type TagCodec, tagCodec } from "./tags.ts"

/** How one kind of cache reads the labels of a response, and takes them in a purge. */
export interface TagRules {
  /** The response header that it reads. */
  readonly header: string
  readonly separator: "," | ", " | " "
  /** Bytes of the header's value that it reads; the rest it cuts or ignores, without a word. */
  readonly maxBytes: number
  /** Labels of one response that it keeps. */
  readonly maxLabels: number
  readonly codec: TagCodec
}

/** Printable ASCII without the comma: no label holds what separates labels, be it a comma or a space. */
const PRINTABLE = /^[\x21-\x2b\x2d-\x7e]$/
/**
 * The same without `*`: for caches that take it for any tag, and for those that do not publish whether they do. A
 * publisher of one namespace could otherwise empty the cache of all.
 */
const NO_WILDCARD = /^[\x21-\x29\x2b\x2d-\x7e]$/
/** Ours, where a vendor says nothing of how many labels it keeps. */
const MANY = 1_000
const KIB = 1_024

/** No comma, no white space, 1,024 bytes: what Cloudflare, Fastly and Varnish take, and most others. */
export const PORTABLE_CODEC: TagCodec = /* @__PURE__ */ tagCodec({ allowed: PRINTABLE, maxBytes: KIB })
const FOLDED_CODEC: TagCodec = /* @__PURE__ */ tagCodec({
  allowed: PRINTABLE,
  maxBytes: KIB,
  foldsCase: true,
})

/**
 * 16 KiB in all, which is about 1,000 tags; 1,024 characters a tag; upper and lower case are one.
 * https://developers.cloudflare.com/cache/how-to/purge-cache/purge-by-tags/
 */
export const cloudflare: TagRules = {
  header: "cache-tag",
  separator: ",",
  maxBytes: 16_000,
  maxLabels: MANY,
  codec: FOLDED_CODEC,
}

/**
 * As the zone's: 1,024 characters a tag, 1,000 tags a response.
 * https://developers.cloudflare.com/workers/cache/purge/
 */
export const workersCache: TagRules = {
  header: "cache-tag",
  separator: ",",
  maxBytes: 16_000,
  maxLabels: MANY,
  codec: FOLDED_CODEC,
}

/**
 * 16,384 bytes in all, 1,024 a key, printable ASCII. Whether case counts is not published: it is kept, so that it
 * may. https://www.fastly.com/documentation/reference/http/http-headers/Surrogate-Key/
 */
export const fastly: TagRules = {
  header: "surrogate-key",
  separator: " ",
  maxBytes: 16_000,
  maxLabels: MANY,
  codec: PORTABLE_CODEC,
}

/**
 * 256 characters of ASCII 33 to 126 without the comma, upper and lower case are one, the first 50 of an object are
 * kept. The header's name is yours to set (`CacheTagConfig.HeaderName`).
 * https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/invalidation-by-tags.html
 */
export const cloudfront: TagRules = {
  header: "cache-tag",
  separator: ",",
  maxBytes: 16_000,
  maxLabels: 50,
  codec: /* @__PURE__ */ tagCodec({ allowed: PRINTABLE, maxBytes: 256, foldsCase: true }),
}

/**
 * The characters of an HTTP token but for `*`, and `&`; 128 a tag, 128 tags an object, 8,192 bytes of headers.
 * Case counts. https://techdocs.akamai.com/purge-cache/docs/assign-cache-tags
 */
export const akamai: TagRules = {
  header: "edge-cache-tag",
  separator: ",",
  maxBytes: 7_500,
  maxLabels: 128,
  codec: /* @__PURE__ */ tagCodec({ allowed: /^[\w!#$%&'+.^`|~-]$/, maxBytes: 128 }),
}

/**
 * Separated by commas. How many, how long, and whether case counts is not published for Cloud CDN: what Akamai and
 * CloudFront take fits any of them, and case is kept. https://cloud.google.com/cdn/docs/cache-invalidation-overview
 */
export const googleCloudCdn: TagRules = {
  header: "cache-tag",
  separator: ",",
  maxBytes: 4_000,
  maxLabels: 50,
  codec: /* @__PURE__ */ tagCodec({ allowed: NO_WILDCARD, maxBytes: 120 }),
}

/**
 * 1,024 bytes in all. https://docs.bunny.net/cdn/purge-cache A `*` in a purge stands for any characters, as clients
 * of its API show: https://github.com/ToshY/BunnyNet-PHP
 */
export const bunny: TagRules = {
  header: "cdn-tag",
  separator: ",",
  maxBytes: KIB,
  maxLabels: 128,
  codec: /* @__PURE__ */ tagCodec({ allowed: NO_WILDCARD, maxBytes: 250 }),
}

/**
 * Separated by spaces. What a tag may hold is not published; 128 characters a request were in 2017.
 * https://www.keycdn.com/support/purge-cdn-cache/ https://www.drupal.org/node/2878035
 */
export const keycdn: TagRules = {
  header: "cache-tag",
  separator: " ",
  maxBytes: 8_000,
  maxLabels: MANY,
  codec: /* @__PURE__ */ tagCodec({ allowed: NO_WILDCARD, maxBytes: 120 }),
}

/**
 * 256 characters a tag, 128 a response, case counts. Its dashboard takes the tag `*` for all of them; of the API that
 * is not published.
 * https://vercel.com/docs/caching/cdn-cache/purge
 */
export const vercel: TagRules = {
  header: "vercel-cache-tag",
  separator: ",",
  maxBytes: 16_000,
  maxLabels: 128,
  codec: /* @__PURE__ */ tagCodec({ allowed: NO_WILDCARD, maxBytes: 256 }),
}

/**
 * 1,024 characters a tag, 500 a response, upper and lower case are one.
 * https://docs.netlify.com/build/caching/caching-overview/
 */
export const netlify: TagRules = {
  header: "netlify-cache-tag",
  separator: ",",
  maxBytes: 16_000,
  maxLabels: 500,
  codec: FOLDED_CODEC,
}

/** The longest header line that Varnish takes by default has 8 KiB; `http_resp_hdr_len`. */
export const varnish: TagRules = {
  header: "xkey",
  separator: " ",
  maxBytes: 8_000,
  maxLabels: MANY,
  codec: PORTABLE_CODEC,
}

/**
 * Separated by a comma and a space, both: https://github.com/darkweak/souin/blob/master/pkg/surrogate/providers/souin.go
 * A purge takes its label for a regular expression and forgets every other that it finds, such as `post-10` by
 * `post-1`: so labels have no signs of those, and an end. https://github.com/components-web-app/components-web-app/issues/84
 */
export const souin: TagRules = {
  header: "surrogate-key",
  separator: ", ",
  maxBytes: 8_000,
  maxLabels: MANY,
  codec: /* @__PURE__ */ tagCodec({ allowed: /^[\w%/:;@=&#~-]$/, maxBytes: KIB, end: "!" }),
}

/** Said to `cacheTag()` and not by a header: 256 characters, 128 a call. https://nextjs.org/docs/app/api-reference/functions/cacheTag */
export const nextjs: TagRules = {
  header: "x-next-cache-tags",
  separator: ",",
  maxBytes: 16_000,
  maxLabels: 128,
  codec: /* @__PURE__ */ tagCodec({ allowed: PRINTABLE, maxBytes: 256 }),
}

/** Every cache that knows tags, by its type of target. */
export const TAG_RULES = {
  cloudflare,
  "workers-cache": workersCache,
  fastly,
  cloudfront,
  akamai,
  "google-cloud-cdn": googleCloudCdn,
  bunny,
  keycdn,
  vercel,
  netlify,
  varnish,
  souin,
  nextjs,
} as const satisfies Record<string, TagRules>

/** A cache that knows tags. */
export type TagCache = keyof typeof TAG_RULES

/** The namespaces whose labels a response carries, in whichever header; of a prefix before its labels nothing is known. */
export function labelledNamespaces(headers: { get(name: string): string | null }): string[] {
  const found = Object.values(TAG_RULES).flatMap(({ header, codec }) =>
    (headers.get(header) ?? "").split(/[, ]+/).map((label) => codec.decode(label) ?? ""),
  )
  const names = found.flatMap((tag) => /(?:^|.*[^\w/])?ns\/(.+)$/.exec(tag)?.[1] ?? [])
  return [...new Set(names.filter((name) => !name.endsWith("/+")))]
}
