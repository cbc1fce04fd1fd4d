import type { Context } from "hono"
import { parseJsonBytes } from "../protocol/bytes.ts"
import type { Resolved } from "../protocol/config/config.ts"
import type { Config } from "../protocol/config/schema.ts"
import { Problem } from "../protocol/errors.ts"
import type { Store } from "../protocol/store.ts"
import { answerWords, StoreError } from "../protocol/store.ts"
import { authenticate, type Principal } from "../protocol/tokens.ts"
import type { Milliseconds } from "../protocol/time.ts"
import type { TargetTraits } from "../dispatch/targets/target.ts"
import type { Delivery, SourceAdapter } from "./sources/source.ts"

/** What every route works with: built once an isolate, from the configuration and the Worker's bindings. */
export interface Edge {
  /** As it was written, secrets by name: what publishing and look-ups are judged by. */
  readonly config: Config
  /** Tokens and sources with their secrets in place. */
  readonly resolved: Resolved<Config>
  readonly store: Store
  readonly sources: ReadonlyMap<string, SourceAdapter>
  /** Of the targets that the configuration uses. */
  readonly findDriver: (type: string) => TargetTraits | undefined
  readonly now: () => Milliseconds
}

export interface EdgeEnv {
  Bindings: Readonly<Record<string, unknown>>
  Variables: { edge: Edge }
}

export type EdgeContext = Context<EdgeEnv>

/** Whose token a request carries. @throws {Problem} `unauthorized` */
export const principalOf = (c: EdgeContext): Promise<Principal> => {
  const { resolved, now } = c.get("edge")
  return authenticate(resolved.tokens, c.req.header("authorization"), now())
}

/**
 * Reads a body of at most `limit` bytes.
 *
 * @throws {Problem} `body_too_large`, as soon as that is known
 */
export async function readBody(c: EdgeContext, limit: number): Promise<Delivery["body"]> {
  const tooLarge = () => new Problem("body_too_large", `The body may have at most ${limit} bytes.`)
  // Where it is not told, neither comparison holds.
  const told = Number(c.req.header("content-length"))
  if (told > limit) throw tooLarge()
  // What was told cannot be exceeded, so that it may be read in one piece, which costs much less than piece by piece.
  if (told <= limit) return new Uint8Array(await c.req.raw.arrayBuffer())
  const parts: Uint8Array<ArrayBuffer>[] = []
  let size = 0
  // What follows is left to whoever asked for no more: an answer that comes before the end may not arrive.
  for await (const part of c.req.raw.body?.values({ preventCancel: true }) ?? []) {
    size += part.length
    if (size > limit) throw tooLarge()
    parts.push(part)
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer())
}

/** Reads JSON, whatever the Content-Type says. @throws {Problem} `invalid_json` */
export function parseJsonBody(bytes: Uint8Array): unknown {
  const value = parseJsonBytes(bytes)
  if (value === undefined) throw new Problem("invalid_json", "The body must be JSON in UTF-8.")
  return value
}

/** What a store's failure means to whoever asked: try again, nothing was acknowledged. */
function storeProblem(error: StoreError): Problem {
  const detail =
    error.failure === "full"
      ? "The store is full and takes nothing new until its backlog has been worked off."
      : `${answerWords(error.message) ?? "The store did not answer"}, so nothing is acknowledged. Send it again.`
  return new Problem("store_unavailable", detail, {
    retryAfter: error.failure === "full" ? 10 : 2,
    cause: error,
  })
}

export const asProblem = (error: unknown): unknown =>
  error instanceof StoreError ? storeProblem(error) : error
