import { utf8 } from "../protocol/bytes.ts"

/**
 * Data with bytes in it, as bytes: a line of JSON, which says what the data is and how long each part is, and then the
 * parts as they are. `redis-cli` shows it readably, and nothing is a third longer for it.
 */

/** Written into each line. One that another version wrote otherwise is not read. */
const VERSION = 1

const NEWLINE = 10

/** What was packed, or could be. */
export interface Packed {
  readonly data: unknown
  readonly parts: readonly Uint8Array[]
}

/** Writes what `unpack` reads. `data` is of JSON. */
export function pack({ data, parts }: Packed): Uint8Array {
  const line = utf8(
    `${JSON.stringify({ tidemark: VERSION, data, sizes: parts.map(({ byteLength }) => byteLength) })}\n`,
  )
  const bytes = new Uint8Array(parts.reduce((size, part) => size + part.byteLength, line.byteLength))
  let offset = 0
  for (const part of [line, ...parts]) {
    bytes.set(part, offset)
    offset += part.byteLength
  }
  return bytes
}

/** Reads what `pack` wrote, the parts as views of it; undefined for anything else, and for less or more than that. */
export function unpack(bytes: Uint8Array): Packed | undefined {
  const end = bytes.indexOf(NEWLINE)
  if (end < 0) return undefined
  const line = readLine(bytes.subarray(0, end))
  const sizes =
    line?.tidemark === VERSION && Array.isArray(line.sizes) ? (line.sizes as unknown[]) : undefined
  if (!sizes) return undefined
  const parts: Uint8Array[] = []
  let offset = end + 1
  for (const size of sizes) {
    if (!Number.isSafeInteger(size) || (size as number) < 0) return undefined
    parts.push(bytes.subarray(offset, offset + (size as number)))
    offset += size as number
  }
  return offset === bytes.byteLength ? { data: line?.data, parts } : undefined
}

interface Line {
  readonly tidemark?: unknown
  readonly data?: unknown
  readonly sizes?: unknown
}

/** Numbers as JavaScript has them: it wrote them too. */
function readLine(bytes: Uint8Array): Line | null | undefined {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as Line | null
  } catch {
    return undefined
  }
}
