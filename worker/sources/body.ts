import { parseJsonText } from "../../protocol/bytes.ts"
import type { Delivery } from "./source.ts"

/** What a body says, whatever it came in: compressed, in another charset than UTF-8, as a form. */

/** Ours. More members than this are no form that tells of a record. */
const MAX_MEMBERS = 10_000

/** Ours: `a[b][c]…` of a form. */
const MAX_DEPTH = 8

/** Of zeros, gzip makes a thousandth: what is written at once never becomes more than 16 MiB. */
const SLICE = 16 * 1024

const turn = () => new Promise<void>((resolve) => void setTimeout(resolve, 0))

/** How a body is compressed. Gzip is known by its first bytes: proxies lose headers, or leave them on what they undid. */
function formatOf({ headers, body }: Pick<Delivery, "headers" | "body">): CompressionFormat | undefined {
  if (body[0] === 0x1f && body[1] === 0x8b) return "gzip"
  return /\bdeflate\b/i.test(headers.get("content-encoding") ?? "") ? "deflate" : undefined
}

/**
 * The body as it was before it was compressed; undefined where it is not, or would be more than `limit` bytes: nobody
 * knows yet who sent it.
 */
export async function inflate(
  delivery: Pick<Delivery, "headers" | "body">,
  limit: number,
): Promise<Delivery["body"] | undefined> {
  const format = formatOf(delivery)
  if (!format) return undefined
  const { readable, writable } = new DecompressionStream(format)
  const parts: Uint8Array<ArrayBuffer>[] = []
  let size = 0
  const read = async () => {
    for await (const part of readable) {
      size += part.length
      if (size > limit) throw new RangeError("more than the limit")
      parts.push(part)
    }
  }
  const write = async () => {
    const writer = writable.getWriter()
    for (let at = 0; at < delivery.body.length; at += SLICE) {
      await writer.write(delivery.body.subarray(at, at + SLICE))
      // workerd takes whatever is written at once, and keeps all that becomes of it: the reader has to come first.
      for (let before = -1; before !== size;) {
        before = size
        await turn()
      }
    }
    await writer.close()
  }
  try {
    await Promise.all([read(), write()])
    return new Uint8Array(await new Blob(parts).arrayBuffer())
  } catch {
    return undefined
  }
}

/** The charsets that a body may be in, UTF-8 first, which is what JSON is in whatever is said. */
function* charsetsOf(bytes: Uint8Array, contentType: string): Generator<string> {
  yield "utf-8"
  const [first, second] = bytes
  // JSON and forms begin with ASCII.
  if (first === 0 || (first === 0xfe && second === 0xff)) yield "utf-16be"
  if (second === 0 || (first === 0xff && second === 0xfe)) yield "utf-16le"
  const [, told] = /;\s*charset="?([^\s;"]+)/i.exec(contentType) ?? []
  if (told !== undefined) yield told
}

function* textsOf(bytes: Uint8Array, contentType: string): Generator<string> {
  for (const charset of charsetsOf(bytes, contentType)) {
    try {
      yield new TextDecoder(charset, { fatal: true }).decode(bytes)
    } catch {
      // Not in this one, or nobody knows it.
    }
  }
}

/** What a body says as JSON, or as a form where it is said to be one; undefined where it says nothing. */
export function parseBody({ headers, body }: Pick<Delivery, "headers" | "body">): unknown {
  const contentType = headers.get("content-type") ?? ""
  const texts = [...textsOf(body, contentType)]
  for (const text of texts) {
    const value = parseJsonText(text)
    if (value !== undefined) return value
  }
  const [text] = texts
  return text !== undefined && /^application\/x-www-form-urlencoded\b/i.test(contentType)
    ? parseForm(text)
    : undefined
}

type Members = Record<string, unknown>

const isMembers = (value: unknown): value is Members =>
  value !== null && typeof value === "object" && !Array.isArray(value)

/**
 * A form as the object that it is of: `a[b]=1` is `{"a": {"b": "1"}}`, what comes twice or as `a[]` is a list. A member
 * that holds JSON is what it holds; where it is the only one, it is the body.
 */
function parseForm(text: string): unknown {
  if (text.split("&", MAX_MEMBERS + 1).length > MAX_MEMBERS) return undefined
  const form: Members = Object.create(null) as Members
  for (const [name, value] of new URLSearchParams(text)) {
    // It was in another charset: a name with this in it is that of no record.
    if (value.includes("\ufffd")) continue
    const json = /^\s*[[{]/.test(value) ? parseJsonText(value) : undefined
    const path = name.split(/[[\]]+/, MAX_DEPTH + 2)
    if (path.length > 1 && !name.endsWith("[]")) path.pop()
    if (path.length <= MAX_DEPTH) put(form, path, json ?? value)
  }
  const [only, another] = Object.values(form)
  if (only === undefined) return undefined
  return another === undefined && typeof only === "object" && "payload" in form ? only : form
}

/** Puts a value where its name leads, unless another value stands in its way. */
function put(at: Members, [name = "", ...rest]: readonly string[], value: unknown): void {
  const there = at[name]
  if (rest.length > 0 && rest[0] !== "") {
    const next = there === undefined ? (at[name] = Object.create(null)) : there
    if (isMembers(next)) put(next, rest, value)
  } else if (there === undefined) at[name] = rest.length > 0 ? [value] : value
  else at[name] = [there, value].flat()
}
