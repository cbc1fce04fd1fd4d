import type { Milliseconds } from "./time.ts"

/**
 * Microseconds since 1970 at which an invalidation was accepted, strictly rising per tenant; also the id of its log
 * entry. Below 2^53 until the year 2255, so a JSON number and a Lua double hold it exactly.
 */
export type Epoch = number

/** The epoch at which this log began. Compared by equality only: a clock that went back cannot revive an old one. */
export type Generation = number

/** How far a reader of a log has got. An epoch means nothing under another generation, so they travel together. */
export interface Position {
  readonly generation: Generation
  readonly epoch: Epoch
  /** Contiguous: the next entry is `seq + 1`, or something was missed. */
  readonly seq: number
}

/** The start of every log: what a cursor that is missing means. */
export const ORIGIN: Position = { generation: 0, epoch: 0, seq: 0 }

/** The newest position of a tenant's log, and the Redis identity under which the relay adopted it (`-` until then). */
export interface Head extends Position {
  readonly identity: string
}

/** What a cache entry stores: the position of the log *before* the origin was read. Never renewed. */
export interface Stamp {
  readonly generation: Generation
  readonly epoch: Epoch
}

const HEAD = /^(\d+) (\d+) (\d+) (\S+)$/
const STAMP = /^(\d{1,16})\.(\d{1,16})$/

/** Reads `<generation> <last> <seq> <identity>`; undefined for a missing or damaged head. */
export function parseHead(text: string | null | undefined): Head | undefined {
  const match = HEAD.exec(text ?? "")
  if (!match) return undefined
  const [, generation, epoch, seq, identity] = match
  return { generation: Number(generation), epoch: Number(epoch), seq: Number(seq), identity: identity ?? "-" }
}

/** `<generation>.<epoch>`, the form in which a stamp is stored with an entry and sent as an event's id. */
export const formatStamp = (stamp: Stamp): string => `${stamp.generation}.${stamp.epoch}`

/** Reads what `formatStamp` wrote; undefined when it is anything else. */
export function parseStamp(text: string | null | undefined): Stamp | undefined {
  const match = STAMP.exec(text ?? "")
  return match ? { generation: Number(match[1]), epoch: Number(match[2]) } : undefined
}

/**
 * The one conversion of an epoch to milliseconds, never rounded: rounding down would miss an invalidation, rounding
 * up would keep an entry stale for ever.
 */
export const epochToMs = (epoch: Epoch): Milliseconds => epoch / 1000

/** Reads an id or an epoch from a query or a path: digits only, within 2^53. */
export function parseEpoch(text: string | undefined): Epoch | undefined {
  if (text === undefined || !/^\d{1,16}$/.test(text)) return undefined
  const epoch = Number(text)
  return Number.isSafeInteger(epoch) ? epoch : undefined
}
