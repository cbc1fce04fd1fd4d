import type { Namespace } from "../protocol/namespace.ts"
import { type Milliseconds, MINUTE } from "../protocol/time.ts"
import { quietly } from "./patience.ts"

/** What was said within the last minute is remembered, up to so many texts; of more, nothing is said. Ours. */
const MAX_TEXTS = 16

/**
 * Why nothing could be looked up.
 *
 * - `unauthorized`  the store does not know the token
 * - `refused`       it says no to this namespace: it is not declared, or the token does not reach it
 * - `unreachable`   it is away, too slow, or something else answers at its address
 * - `misconfigured` it cannot be asked: its url or its token is missing, or none
 * - `not-believed`  it answered, and the answer is not to be trusted: of a cache in between, or of another log
 * - `empty`         nothing was ever published, and no relay has begun a log: nothing can be kept yet
 */
export type TroubleCode =
  | "unauthorized"
  | "refused"
  | "unreachable"
  | "misconfigured"
  | "not-believed"
  | "empty"

/** Why nothing could be looked up, in words that tell what to do about it. It holds no secret. */
export class TidemarkError extends Error {
  readonly code: TroubleCode
  /** What was asked for, if that is known. */
  readonly namespaces: readonly Namespace[]

  constructor(code: TroubleCode, message: string, namespaces: readonly Namespace[] = []) {
    super(message)
    this.name = "TidemarkError"
    this.code = code
    this.namespaces = namespaces
  }
}

/** Tells of a text whether it is to be said now: once a minute, and no more than a few texts in one. */
export function onceAMinute(now: () => Milliseconds): (text: string) => boolean {
  const saidAt = new Map<string, Milliseconds>()
  return (text) => {
    // What was said in the future was said before the clock went back.
    for (const [said, at] of saidAt) if (!(Math.abs(now() - at) < MINUTE)) saidAt.delete(said)
    if (saidAt.has(text) || saidAt.size >= MAX_TEXTS) return false
    saidAt.set(text, now())
    return true
  }
}

/** Says it to whoever looks at the log, where nobody listens otherwise. */
export const warn = ({ message }: { readonly message: string }): void => console.warn(`tidemark: ${message}`)

/**
 * Tells whoever listens why nothing could be looked up: at once, and the same not again within a minute.
 *
 * @param onError default: a line on the console
 */
export function teller(onError: (error: TidemarkError) => unknown = warn, now: () => Milliseconds) {
  const isDue = onceAMinute(now)
  return (error: unknown, namespaces: readonly Namespace[]): void => {
    const { name, code, message = String(error) } = Object(error) as Partial<TidemarkError>
    // By its name: a store may be of another copy of this package.
    const kind = (name === "TidemarkError" && code) || "unreachable"
    // Times and ports differ, and say the same.
    if (isDue(kind + message.replace(/\d+/g, "0")))
      void quietly(() => onError(new TidemarkError(kind, message, namespaces)))
  }
}
