/**
 * How a tag is said to one CDN. The same codec writes the response header and the purge, so that what a page was
 * labelled with is what is purged.
 */
export interface TagCodec {
  /** The label on the wire; undefined where the tag cannot be said there, and something wider must be. */
  encode(tag: string): string | undefined
  /** The tag that a label stands for, as receipts show it. `decode(encode(tag))` is `tag`. */
  decode(label: string): string
}

export interface TagGrammar {
  /** Characters that may stand in a label as they are, tested one by one. */
  readonly allowed: RegExp
  /** Bytes of the longest label. */
  readonly maxBytes: number
}

const HEX = /^%[0-9A-F]{2}/

/**
 * Labels are the tags verbatim; what a grammar does not allow is percent-encoded, byte by byte in UTF-8. A literal
 * `%` is encoded only where two upper-case hex digits follow it, which is what keeps the mapping reversible.
 */
export function tagCodec({ allowed, maxBytes }: TagGrammar): TagCodec {
  const encoder = new TextEncoder()
  const escape = (char: string): string =>
    Array.from(encoder.encode(char), (byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join(
      "",
    )
  return {
    encode(tag) {
      let label = ""
      let rest = tag
      for (const char of tag) {
        const literal = allowed.test(char) && !HEX.test(rest)
        label += literal ? char : escape(char)
        rest = rest.slice(char.length)
      }
      return encoder.encode(label).length <= maxBytes ? label : undefined
    },
    decode(label) {
      const decoder = new TextDecoder("utf-8", { ignoreBOM: true })
      return label.replaceAll(/(?:%[0-9A-F]{2})+/g, (run) =>
        decoder.decode(Uint8Array.from(run.match(/[0-9A-F]{2}/g) ?? [], (pair) => Number.parseInt(pair, 16))),
      )
    },
  }
}

/** Printable ASCII without the characters that separate labels in a header. */
const LABEL = /^[\x21-\x2b\x2d-\x7e]$/

/**
 * Headers in which origins label responses, and how each separates the labels.
 *
 * Cloudflare and Fastly allow 16 KiB in all and 1,024 bytes a label:
 * https://developers.cloudflare.com/cache/how-to/purge-cache/purge-by-tags/ and
 * https://www.fastly.com/documentation/reference/http/http-headers/Surrogate-Key/
 */
export const TAG_HEADERS = {
  "cache-tag": ",",
  "surrogate-key": " ",
  xkey: " ",
  "edge-cache-tag": ",",
  "cdn-tag": ",",
  "netlify-cache-tag": ",",
  "vercel-cache-tag": ",",
} as const
export type TagHeader = keyof typeof TAG_HEADERS

/** The codec that every target of now shares: no comma, no white space, 1,024 bytes. */
export const PORTABLE_CODEC: TagCodec = tagCodec({ allowed: LABEL, maxBytes: 1_024 })

/** The label that every response of a namespace carries, for it and for each of its ancestors. */
export const namespaceTag = (namespace: string): string => `ns/${namespace}`
