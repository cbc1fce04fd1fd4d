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

/**
 * What Redis says of itself rather than of what it was asked, by the code that its error begins with: the end of a
 * sentence that begins with "Redis". A short table, as the Worker carries it.
 *
 * @see https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors
 */
const ANSWERS: Readonly<Record<string, string>> = {
  READONLY: "is a read-only replica",
  MASTERDOWN: "is a replica without its primary",
  MOVED: "is a cluster node without this key",
  ASK: "is a cluster node without this key",
  TRYAGAIN: "is a cluster node without this key",
  CLUSTERDOWN: "is a cluster node without its cluster",
  LOADING: "is loading its data",
  NOREPLICAS: "has too few replicas",
  MISCONF: "cannot write to disk",
  BUSY: "is busy with a script",
  NOAUTH: "wants a password",
  WRONGPASS: "refuses its password",
  NOPERM: "gives too few rights",
}

/** A code stands first, or behind what a script or a transaction puts before the error that ended it. */
const CODE = new RegExp(`(?:^-?|: -?)(${Object.keys(ANSWERS).join("|")})\\b`)

/** The code of what Redis says of itself: `READONLY`. Undefined for an error about what it was asked. */
export const answerCode = (message: string): string | undefined =>
  // What the users' rules refuse inside a script has no code of its own.
  CODE.exec(message)?.[1] ?? (/ACL failure|executing the script/.test(message) ? "NOPERM" : undefined)

/** The same in words for people: "Redis is a read-only replica". */
export function answerWords(message: string): string | undefined {
  const code = answerCode(message)
  return code && `Redis ${ANSWERS[code]}`
}

/** Those about the sender's rights; by the others Redis says that it cannot serve anybody now. */
const REFUSALS = /AUTH|PASS|PERM/

/** Sorts an error text of Redis into what it means for us. */
export const classifyReplyError = (message: string): StoreFailure => {
  if (/^OOM |-OOM |command not allowed when used memory/.test(message)) return "full"
  const code = answerCode(message)
  return code && !REFUSALS.test(code) ? "unreachable" : "refused"
}

/**
 * Whether an answer may mean that this node is not, or no longer, the one that we should be at, so that whoever holds
 * the connection looks again where the address leads. `LOADING` is such a one: a primary that was restarted, and
 * replaced meanwhile, loads until it learns so. `NOREPLICAS` and `CLUSTERDOWN` too: a primary that was cut off refuses
 * by them. `ASK` and `TRYAGAIN` are not: they pass where they are, or end in `MOVED`.
 */
export const mayBeElsewhere = (code: string): boolean =>
  /^(READONLY|MASTERDOWN|MOVED|CLUSTERDOWN|LOADING|NOREPLICAS)$/.test(code)

export const asList = (reply: Reply | undefined): readonly Reply[] =>
  Array.isArray(reply) ? (reply as readonly Reply[]) : []
export const asText = (reply: Reply | undefined): string | undefined =>
  typeof reply === "string" ? reply : typeof reply === "number" ? String(reply) : undefined
