import { ErrorReply } from "redis"
import { type Milliseconds, SECOND } from "../../protocol/time.ts"

/** Redis was not reached, or did not answer. What was sent may have run all the same. */
export class UpstreamError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = "UpstreamError"
  }
}

/** What to throw for what node-redis threw: Redis's own errors as they are, all else as a loss of the connection. */
export function toUpstreamError(error: unknown): ErrorReply | UpstreamError {
  if (error instanceof ErrorReply || error instanceof UpstreamError) return error
  return new UpstreamError("ERR the connection to Redis was lost before it answered", { cause: error })
}

/** Longest wait for Redis. Past it the connection is taken for dead, as a dead link gives no other sign. */
export const ANSWER_WITHIN: Milliseconds = 5 * SECOND

/** @throws {UpstreamError} when the work has not ended within 5 s, before telling `onMissed`. */
export async function withinDeadline<T>(work: Promise<T>, onMissed: () => void = () => {}): Promise<T> {
  const missed = Promise.withResolvers<never>()
  const timer = setTimeout(() => {
    missed.reject(new UpstreamError("ERR Redis did not answer in time"))
    onMissed()
  }, ANSWER_WITHIN)
  return Promise.race([work, missed.promise]).finally(() => clearTimeout(timer))
}
