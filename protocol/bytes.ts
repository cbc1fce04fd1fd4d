/** Encodings and digests over WebCrypto, alike in Node and in workerd. */

const encoder = new TextEncoder()

export const utf8 = (text: string): Uint8Array<ArrayBuffer> => encoder.encode(text)

const strict = /* @__PURE__ */ new TextDecoder("utf-8", { fatal: true })

/** What any number has that JavaScript would write with other digits. */
const MAY_CHANGE = /\d{16}|\d[.eE]|-0/

/** A number as it was sent, where JavaScript would write other digits. That `42.0` is 42 says nothing else. */
function asSent(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  const source = context?.source?.replace(/\.0+$/, "")
  return typeof value === "number" && source !== undefined && String(value) !== source ? source : value
}

/**
 * What a text says as JSON; undefined where it says nothing. A number that JavaScript cannot hold, or would write
 * otherwise, is a text of the digits that were sent: an id beyond 2^53 would name another record.
 */
export function parseJsonText(text: string): unknown {
  try {
    // A reviver is asked for every value, which costs ten times as much.
    return JSON.parse(text, MAY_CHANGE.test(text) ? asSent : undefined)
  } catch {
    return undefined
  }
}

/** What bytes say as JSON in UTF-8, as `parseJsonText` reads it; undefined where they say nothing. */
export function parseJsonBytes(bytes: Uint8Array): unknown {
  try {
    return parseJsonText(strict.decode(bytes))
  } catch {
    return undefined
  }
}

export const byteLength = (text: string): number => encoder.encode(text).length

const HEX = /* @__PURE__ */ Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"))

export function toHex(bytes: Uint8Array): string {
  let text = ""
  for (const byte of bytes) text += HEX[byte]
  return text
}

export function toBase64(bytes: Uint8Array): string {
  let binary = ""
  for (const byte of bytes) binary += String.fromCharCode(byte)
  return btoa(binary)
}

export const toBase64Url = (bytes: Uint8Array): string =>
  toBase64(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")

/** Decodes canonical base64; undefined for anything a strict encoder would not have written. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0))
    // A lenient decoder ignores spaces, missing padding and the low bits of the last character: two texts would then
    // mean one signature.
    return toBase64(bytes) === text ? bytes : undefined
  } catch {
    return undefined
  }
}

/** Digests that answer at once. */
export interface Digests {
  sha256(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>
  hmac(
    hash: "SHA-1" | "SHA-256",
    secret: Uint8Array<ArrayBuffer>,
    data: Uint8Array<ArrayBuffer>,
  ): Uint8Array<ArrayBuffer>
}

let own: Digests | undefined

/** Has digests made by a runtime's own means from here on. Default: by WebCrypto, which is everywhere. */
export function useDigests(digests: Digests): void {
  own = digests
}

export const sha256 = async (bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> =>
  own?.sha256(bytes) ?? new Uint8Array(await crypto.subtle.digest("SHA-256", bytes))

export async function hmac(
  hash: "SHA-1" | "SHA-256",
  secret: Uint8Array<ArrayBuffer>,
  data: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer>> {
  const key = () => crypto.subtle.importKey("raw", secret, { name: "HMAC", hash }, false, ["sign"])
  return own?.hmac(hash, secret, data) ?? new Uint8Array(await crypto.subtle.sign("HMAC", await key(), data))
}

/** Compares without telling by its duration where two values first differ. Lengths are no secret. */
export function constantTimeEqual<T extends string | Uint8Array>(a: T, b: T): boolean {
  if (a.length !== b.length) return false
  let difference = 0
  for (let at = 0; at < a.length; at += 1) difference |= unitAt(a, at) ^ unitAt(b, at)
  return difference === 0
}

const unitAt = (of: string | Uint8Array, at: number): number =>
  typeof of === "string" ? of.charCodeAt(at) : (of[at] ?? 0)

export const concatBytes = (...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> => {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let offset = 0
  for (const part of parts) {
    joined.set(part, offset)
    offset += part.length
  }
  return joined
}
