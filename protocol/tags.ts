/**
 * How a tag is said to one cache. The same codec writes the response header and the purge, so that what a page was
 * labelled with is what is purged.
 */
export interface TagCodec {
  /** The label on the wire. */
  encode(tag: string): string
  /**
   * The tag that a label stands for: `decode(encode(tag))` is `tag`, in lower case where the cache tells no cases apart.
   * Undefined for a label that is a hash: no tag can be read from it, and receipts remember which one it was.
   */
  decode(label: string): string | undefined
}

export interface TagGrammar {
  /** Characters that may stand in a label as they are, tested one by one. Letters, digits, `%`, `-` and `_` must. */
  readonly allowed: RegExp
  /** Bytes of the longest label: 64 at least. */
  readonly maxBytes: number
  /** The cache tells no upper case from lower case: labels are in lower case then, but for the hex digits. */
  readonly foldsCase?: boolean
  /** Ends every label, so that none begins another; no allowed character. Default: nothing. */
  readonly end?: string
}

const HEX = /^%[0-9A-F]{2}/
/** A label that is a hash begins so; a tag that does is hashed too, lest it be taken for one. */
const HASHED = "tm-h_"

/**
 * Labels are the tags verbatim; what a grammar does not allow is percent-encoded, byte by byte in UTF-8. A literal
 * `%` is encoded only where two upper-case hex digits follow it, which is what keeps the mapping reversible. What is
 * too long then is a hash of the tag, 128 bits: two tags that shared one would be purged together, and none be missed.
 */
export function tagCodec({ allowed, maxBytes, foldsCase = false, end = "" }: TagGrammar): TagCodec {
  const encoder = new TextEncoder()
  const escape = (char: string): string =>
    Array.from(encoder.encode(char), (byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join(
      "",
    )
  return {
    encode(given) {
      const tag = foldsCase ? given.toLowerCase() : given
      let label = ""
      let rest = tag
      for (const char of tag) {
        const literal = allowed.test(char) && !HEX.test(rest)
        label += literal ? char : escape(char)
        rest = rest.slice(char.length)
      }
      const isPlain = encoder.encode(label + end).length <= maxBytes && !label.startsWith(HASHED)
      return (isPlain ? label : HASHED + fnv1a128(encoder.encode(tag))) + end
    },
    decode(given) {
      if (given.startsWith(HASHED)) return undefined
      const label = end !== "" && given.endsWith(end) ? given.slice(0, -end.length) : given
      const decoder = new TextDecoder("utf-8", { ignoreBOM: true })
      return label.replaceAll(/(?:%[0-9A-F]{2})+/g, (run) =>
        decoder.decode(Uint8Array.from(run.match(/[0-9A-F]{2}/g) ?? [], (pair) => Number.parseInt(pair, 16))),
      )
    },
  }
}

/** @see https://www.rfc-editor.org/rfc/rfc9923 */
const FNV_PRIME = 0x1000000000000000000013bn
const FNV_OFFSET = 0x6c62272e07bb014262b821756295c58dn

/** FNV-1a of 128 bits, in hex: a hash that needs no secrecy, and no waiting. */
function fnv1a128(bytes: Uint8Array): string {
  let hash = FNV_OFFSET
  for (const byte of bytes) hash = BigInt.asUintN(128, (hash ^ BigInt(byte)) * FNV_PRIME)
  return hash.toString(16).padStart(32, "0")
}

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
/** Ours, where a vendor says nothing of how many labels it keeps. */
const MANY = 1_000
const KIB = 1_024

/** No comma, no white space, 1,024 bytes: what Cloudflare, Fastly and Varnish take, and most others. */
export const PORTABLE_CODEC: TagCodec = tagCodec({ allowed: PRINTABLE, maxBytes: KIB })
const FOLDED_CODEC: TagCodec = tagCodec({ allowed: PRINTABLE, maxBytes: KIB, foldsCase: true })

/** Every cache that knows tags, by its type of target. */
export const TAG_RULES = {
  /**
   * 16 KiB in all, which is about 1,000 tags; 1,024 characters a tag; upper and lower case are one.
   * https://developers.cloudflare.com/cache/how-to/purge-cache/purge-by-tags/
   */
  cloudflare: { header: "cache-tag", separator: ",", maxBytes: 16_000, maxLabels: MANY, codec: FOLDED_CODEC },
  /**
   * As the zone's: 1,024 characters a tag, 1,000 tags a response.
   * https://developers.cloudflare.com/workers/cache/purge/
   */
  "workers-cache": {
    header: "cache-tag",
    separator: ",",
    maxBytes: 16_000,
    maxLabels: MANY,
    codec: FOLDED_CODEC,
  },
  /**
   * 16,384 bytes in all, 1,024 a key, printable ASCII. Whether case counts is not published: it is kept, so that it
   * may. https://www.fastly.com/documentation/reference/http/http-headers/Surrogate-Key/
   */
  fastly: {
    header: "surrogate-key",
    separator: " ",
    maxBytes: 16_000,
    maxLabels: MANY,
    codec: PORTABLE_CODEC,
  },
  /**
   * 256 characters of ASCII 33 to 126 without the comma, upper and lower case are one, the first 50 of an object are
   * kept. The header's name is yours to set (`CacheTagConfig.HeaderName`).
   * https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/invalidation-by-tags.html
   */
  cloudfront: {
    header: "cache-tag",
    separator: ",",
    maxBytes: 16_000,
    maxLabels: 50,
    codec: tagCodec({ allowed: PRINTABLE, maxBytes: 256, foldsCase: true }),
  },
  /**
   * The characters of an HTTP token but for `*`, and `&`; 128 a tag, 128 tags an object, 8,192 bytes of headers.
   * Case counts. https://techdocs.akamai.com/purge-cache/docs/assign-cache-tags
   */
  akamai: {
    header: "edge-cache-tag",
    separator: ",",
    maxBytes: 7_500,
    maxLabels: 128,
    codec: tagCodec({ allowed: /^[\w!#$%&'+.^`|~-]$/, maxBytes: 128 }),
  },
  /**
   * Separated by commas. How many, how long, and whether case counts is not published for Cloud CDN: what Akamai and
   * CloudFront take fits any of them, and case is kept. https://cloud.google.com/cdn/docs/cache-invalidation-overview
   */
  "google-cloud-cdn": {
    header: "cache-tag",
    separator: ",",
    maxBytes: 4_000,
    maxLabels: 50,
    codec: tagCodec({ allowed: PRINTABLE, maxBytes: 120 }),
  },
  /** 1,024 bytes in all. https://docs.bunny.net/cdn/purge-cache */
  bunny: {
    header: "cdn-tag",
    separator: ",",
    maxBytes: KIB,
    maxLabels: 128,
    codec: tagCodec({ allowed: PRINTABLE, maxBytes: 250 }),
  },
  /**
   * Separated by spaces. What a tag may hold is not published; 128 characters a request were in 2017.
   * https://www.keycdn.com/support/purge-cdn-cache/ https://www.drupal.org/node/2878035
   */
  keycdn: {
    header: "cache-tag",
    separator: " ",
    maxBytes: 8_000,
    maxLabels: MANY,
    codec: tagCodec({ allowed: PRINTABLE, maxBytes: 120 }),
  },
  /** 256 characters a tag, 128 a response, case counts. https://vercel.com/docs/caching/cdn-cache/purge */
  vercel: {
    header: "vercel-cache-tag",
    separator: ",",
    maxBytes: 16_000,
    maxLabels: 128,
    codec: tagCodec({ allowed: PRINTABLE, maxBytes: 256 }),
  },
  /**
   * 1,024 characters a tag, 500 a response, upper and lower case are one.
   * https://docs.netlify.com/build/caching/caching-overview/
   */
  netlify: {
    header: "netlify-cache-tag",
    separator: ",",
    maxBytes: 16_000,
    maxLabels: 500,
    codec: FOLDED_CODEC,
  },
  /** The longest header line that Varnish takes by default has 8 KiB; `http_resp_hdr_len`. */
  varnish: { header: "xkey", separator: " ", maxBytes: 8_000, maxLabels: MANY, codec: PORTABLE_CODEC },
  /**
   * Separated by a comma and a space, both: https://github.com/darkweak/souin/blob/master/pkg/surrogate/providers/souin.go
   * A purge takes its label for a regular expression and forgets every other that it finds, such as `post-10` by
   * `post-1`: so labels have no signs of those, and an end. https://github.com/components-web-app/components-web-app/issues/84
   */
  souin: {
    header: "surrogate-key",
    separator: ", ",
    maxBytes: 8_000,
    maxLabels: MANY,
    codec: tagCodec({ allowed: /^[\w%/:;@=&#~-]$/, maxBytes: KIB, end: "!" }),
  },
  /** Said to `cacheTag()` and not by a header: 256 characters, 128 a call. https://nextjs.org/docs/app/api-reference/functions/cacheTag */
  nextjs: {
    header: "x-next-cache-tags",
    separator: ",",
    maxBytes: 16_000,
    maxLabels: 128,
    codec: tagCodec({ allowed: PRINTABLE, maxBytes: 256 }),
  },
} as const satisfies Record<string, TagRules>
/** A cache that knows tags. */
export type TagCache = keyof typeof TAG_RULES

/** The label that every response of a namespace carries, for it and for each of its ancestors. */
export const namespaceTag = (namespace: string): string => `ns/${namespace}`

/**
 * The label of a response of a namespace on which not all of its tags had room. Where the namespace's `overflowTag` is
 * set, it goes along with every purge by tag there, so that no tag that was left out is missed.
 */
export const overflowTag = (namespace: string): string => `ns/${namespace}/+`

/** The namespaces whose labels a response carries, in whichever header; of a prefix before its labels nothing is known. */
export function labelledNamespaces(headers: { get(name: string): string | null }): string[] {
  const found = Object.values(TAG_RULES).flatMap(({ header, codec }) =>
    (headers.get(header) ?? "").split(/[, ]+/).map((label) => codec.decode(label) ?? ""),
  )
  const names = found.flatMap((tag) => /(?:^|.*[^\w/])?ns\/(.+)$/.exec(tag)?.[1] ?? [])
  return [...new Set(names.filter((name) => !name.endsWith("/+")))]
}
