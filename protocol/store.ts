/**
 * The one thing that protocol/ needs of a Redis: to send commands and scripts, and to say plainly when it cannot.
 * The Worker implements it over @upstash/redis, the relay over node-redis.
 */

/** What Redis answers, in the shapes of RESP2: hashes and scores are flat lists of strings. */
export type Reply = string | number | null | readonly Reply[]

/** A command's name and arguments. Numbers are written by the caller, who knows how. */
export type Command = readonly string[]

/** A script of `lua/`, with the digests by which a server remembers it. */
export interface Script {
  readonly name: string
  readonly text: string
  readonly sha1: string
  /** Of the text with `UPSTASH_FLAGS` in front. */
  readonly upstashSha1: string
}

/**
 * Upstash locks the whole database for a script unless its first line says that it names all its keys; Redis 7.0
 * refuses that very line. One source, two texts.
 *
 * @see https://upstash.com/docs/redis/features/key-locking
 */
export const UPSTASH_FLAGS = "#!lua flags=allow-key-locking\n"

/** One Redis, one database. Safe to call concurrently. */
export interface Store {
  /**
   * Runs a script by its digest; where the server has forgotten it, once more by its text.
   *
   * @throws {StoreError}
   */
  script(script: Script, keys: readonly string[], args: readonly string[]): Promise<Reply>
  /**
   * Sends commands in one round trip and answers their replies in order. Not atomic, but in order on one server.
   *
   * @throws {StoreError} also when any one command was refused
   */
  pipeline(commands: readonly Command[]): Promise<readonly Reply[]>
}

/**
 * - `unreachable` no answer: nothing is known of what was sent
 * - `full` refused for memory: nothing was written
 * - `refused` Redis answered with another error
 */
export type StoreFailure = "unreachable" | "full" | "refused"

export class StoreError extends Error {
  readonly failure: StoreFailure

  constructor(failure: StoreFailure, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = "StoreError"
    this.failure = failure
  }
}

/** What Redis says of itself by the first word of an error: nothing was done, and it may come right. */
const TROUBLES: Readonly<Record<string, string>> = {
  READONLY: "is a read-only replica",
  LOADING: "is loading its data",
  MASTERDOWN: "has lost its primary",
  NOREPLICAS: "has too few replicas to write",
  MISCONF: "cannot save its data",
  MOVED: "is a node of a cluster, which has these keys elsewhere",
  ASK: "is moving these keys to another node",
  TRYAGAIN: "is moving these keys to another node",
  CLUSTERDOWN: "is a cluster that is down",
  BUSY: "is busy with a script",
}

const codeOf = (message: string): string => /^-?([A-Z]+)\b/.exec(message)?.[1] ?? ""

/** What an error text of Redis says of Redis itself, for people, as "Redis is a read-only replica"; else undefined. */
export const troubleOf = (message: string): string | undefined =>
  TROUBLES[codeOf(message)] && `Redis ${TROUBLES[codeOf(message)]}`

/** Sorts an error text of Redis into what it means for us. */
export const classifyReplyError = (message: string): StoreFailure => {
  if (/^OOM |-OOM |command not allowed when used memory/.test(message)) return "full"
  return troubleOf(message) ? "unreachable" : "refused"
}

export const asList = (reply: Reply | undefined): readonly Reply[] =>
  Array.isArray(reply) ? (reply as readonly Reply[]) : []
export const asText = (reply: Reply | undefined): string | undefined =>
  typeof reply === "string" ? reply : typeof reply === "number" ? String(reply) : undefined
