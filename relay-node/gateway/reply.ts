import { ErrorReply, RESP_TYPES } from "redis"
import type { RawReply } from "../redis/types.ts"

/**
 * How replies are decoded for JSON: strings as bytes, so that base64 shows exactly what is stored, and integers as
 * digits, as a double would lose those above 2^53.
 */
export const JSON_TYPES = {
  [RESP_TYPES.BLOB_STRING]: Buffer,
  [RESP_TYPES.SIMPLE_STRING]: Buffer,
  [RESP_TYPES.NUMBER]: String,
} as const

/**
 * How replies are decoded to be written as RESP2 again, where a simple string is a JavaScript string. Integers are
 * numbers there, exact up to 2^53.
 */
export const RESP2_TYPES = { [RESP_TYPES.BLOB_STRING]: Buffer } as const

/** How a request wants its answer. */
export type ReplyFormat = "json" | "base64" | "resp2"

/** One reply as Upstash answers it: `{"result": …}`, or `{"error": …}` with Redis's own words. */
export function writeResult(reply: RawReply, format: "json" | "base64"): string {
  if (reply instanceof ErrorReply) return writeError(reply.message)
  // A bare OK is never encoded. Clients know that and leave it alone, but only there: inside an array they decode it.
  if (Buffer.isBuffer(reply) && reply.equals(OK)) return '{"result":"OK"}'
  return `{"result":${writeJson(reply, format)}}`
}

export const writeError = (message: string): string => JSON.stringify({ error: message })

const OK = Buffer.from("OK")

function writeJson(reply: RawReply, format: "json" | "base64"): string {
  if (reply === null) return "null"
  if (typeof reply === "string" || typeof reply === "number") return String(reply)
  if (Buffer.isBuffer(reply)) return JSON.stringify(reply.toString(format === "base64" ? "base64" : "utf8"))
  if (reply instanceof ErrorReply) return writeJson(Buffer.from(reply.message), format)
  return `[${reply.map((item) => writeJson(item, format)).join(",")}]`
}

/** One reply as Redis sent it. A null array comes out as a null string, which every client reads as the same nothing. */
export function writeResp2(reply: RawReply): Buffer<ArrayBuffer> {
  if (reply === null) return Buffer.from("$-1\r\n")
  if (typeof reply === "number") return Buffer.from(`:${reply}\r\n`)
  if (typeof reply === "string") return Buffer.from(`+${reply}\r\n`)
  if (reply instanceof ErrorReply) return Buffer.from(`-${reply.message}\r\n`)
  if (Buffer.isBuffer(reply))
    return Buffer.concat([Buffer.from(`$${reply.length}\r\n`), reply, Buffer.from("\r\n")])
  return Buffer.concat([Buffer.from(`*${reply.length}\r\n`), ...reply.map(writeResp2)])
}
