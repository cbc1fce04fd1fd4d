import type { ErrorReply, RedisArgument } from "redis"

/** A command's name and its arguments, as they go over the wire. Never empty. */
export type RedisCommand = readonly [name: string, ...args: RedisArgument[]]

/** What Redis answered, in RESP2; what a string or an integer is decoded to is the asker's choice of types. */
export type RawReply = Buffer | string | number | null | ErrorReply | readonly RawReply[]

/** Where a connection says what happened to it. Pino's order: the fields, then the event's name. */
export interface UpstreamLog {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}
