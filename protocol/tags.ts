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
/** What every grammar allows: most tags, whose labels they are. */
const USUAL = /^[\w-]*$/
/** A label that is a hash begins so; a tag that does is hashed too, lest it be taken for one. */
const HASHED = "tm-h_"
/** In either case, as some caches fold it and others do not say whether they do. */
const LIKE_HASHED = /^tm-h_/i

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
      let label = tag
      if (!USUAL.test(tag)) {
        label = ""
        let rest = tag
        for (const char of tag) {
          const literal = allowed.test(char) && !HEX.test(rest)
          label += literal ? char : escape(char)
          rest = rest.slice(char.length)
        }
      }
      const isPlain = encoder.encode(label + end).length <= maxBytes && !LIKE_HASHED.test(label)
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

/** The label that every response of a namespace carries, for it and for each of its ancestors. */
export const namespaceTag = (namespace: string): string => `ns/${namespace}`

/**
 * The label of a response of a namespace on which not all of its tags had room. It goes along with every purge by tag
 * there, so that no tag that was left out is missed, unless the namespace's `overflowTag` says otherwise.
 */
export const overflowTag = (namespace: string): string => `ns/${namespace}/+`
