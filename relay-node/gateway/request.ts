import type { HonoRequest } from "hono"
import type { RedisCommand } from "../redis/types.ts"
import type { ReplyFormat } from "./reply.ts"

/** Upstash's own limit for a request. @see https://upstash.com/docs/redis/troubleshooting/max_request_size_exceeded */
const MAX_BODY_BYTES = 10 * 1024 * 1024

/** A request that is not passed on, with the status, text and headers of the answer. The text holds no argument. */
export class Refused extends Error {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>

  constructor(status: number, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message)
    this.name = "Refused"
    this.status = status
    this.headers = headers
  }
}

/** @throws {Refused} 413 above 10 MB. */
export async function readBody(request: HonoRequest): Promise<Buffer> {
  if (request.method === "GET" || request.method === "HEAD") return Buffer.alloc(0)
  const declared = request.header("content-length")
  if (declared !== undefined) {
    if (Number(declared) > MAX_BODY_BYTES) throw tooLarge()
    return Buffer.from(await request.arrayBuffer())
  }
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of request.raw.body ?? []) {
    size += chunk.length
    if (size > MAX_BODY_BYTES) throw tooLarge()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

const tooLarge = () => new Refused(413, `ERR max request size exceeded. Limit: ${MAX_BODY_BYTES} bytes`)

/** `["SET", "a", 1]`. @throws {Refused} 400 */
export const parseCommandBody = (body: Buffer): RedisCommand => toCommand(parseJson(body))

/** `[["SET", "a", 1], ["GET", "a"]]`. @throws {Refused} 400 */
export function parseCommandsBody(body: Buffer): RedisCommand[] {
  const rows = parseJson(body)
  if (!Array.isArray(rows))
    throw new Refused(400, "ERR failed to parse the request: not an array of commands")
  if (rows.length === 0) throw new Refused(400, "ERR empty pipeline request")
  return rows.map(toCommand)
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString("utf8"))
  } catch {
    // The parser's message would quote the body.
    throw new Refused(400, "ERR failed to parse the request: not valid JSON")
  }
}

function toCommand(row: unknown): RedisCommand {
  if (!Array.isArray(row))
    throw new Refused(400, "ERR failed to parse the request: a command is not an array")
  const [name, ...args] = row.map(toArgument)
  if (name === undefined || name === "") throw new Refused(400, "ERR empty command")
  return [name, ...args]
}

function toArgument(value: unknown): string {
  if (typeof value === "string") return value
  if (typeof value === "number" || typeof value === "boolean") return String(value)
  if (value === null) throw new Refused(400, "ERR null args are not supported")
  throw new Refused(400, "ERR failed to parse the request: an argument is neither string, number nor boolean")
}

/** The parts of a path, percent-decoded to the bytes they stand for, which need not be UTF-8. */
export const pathParts = (url: URL): Buffer[] =>
  url.pathname === "/" ? [] : url.pathname.slice(1).split("/").map(decode)

const decode = (part: string): Buffer =>
  // A URL's path is ASCII, so that each character, decoded or not, is one byte.
  Buffer.from(
    part.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    "latin1",
  )

/** `POST /set/key?EX=100` with a value as its body is `SET key value EX 100`. @throws {Refused} 400 */
export function toPathCommand(url: URL, body: Buffer): RedisCommand {
  const [name, ...args] = pathParts(url)
  if (name === undefined || name.length === 0) throw new Refused(400, "ERR empty command")
  const options = [...url.searchParams].filter(([key]) => key !== "_token").flat()
  // `?NX` has a name only; as in a command line, what is empty is not said.
  return [
    name.toString(),
    ...args,
    ...(body.length > 0 ? [body] : []),
    ...options.filter((option) => option !== ""),
  ]
}

/** Reads `Upstash-Encoding` and `Upstash-Response-Format`. @throws {Refused} 400 for what Upstash refuses too */
export function replyFormat(request: HonoRequest): ReplyFormat {
  const isBase64 = request.header("upstash-encoding") === "base64"
  const format = request.header("upstash-response-format") ?? "json"
  if (format !== "json" && format !== "resp2") throw new Refused(400, "ERR unknown Upstash-Response-Format")
  if (format === "json") return isBase64 ? "base64" : "json"
  if (isBase64) throw new Refused(400, "ERR Upstash-Encoding is not applicable to the resp2 format")
  return "resp2"
}
