import type { Milliseconds } from "../protocol/time.ts"

/**
 * Waits for something that another request began, but not for ever. In a Worker, work ends with the request that began
 * it unless `waitUntil` keeps it, and a promise of such work never settles.
 *
 * @returns whether it settled in time, fulfilled or not
 */
export const settles = (promise: Promise<unknown>, within: Milliseconds): Promise<boolean> =>
  new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), within)
    const end = () => {
      clearTimeout(timer)
      resolve(true)
    }
    promise.then(end, end)
  })

/** Calls something of the user's, at once: gives what that gives, and undefined where it fails. */
export async function quietly<T>(call: () => T | PromiseLike<T>): Promise<T | undefined> {
  try {
    return await call()
  } catch {
    return undefined
  }
}

/** As `quietly`, and undefined also where there is nothing in time. */
export async function giveUpAfter<T>(limit: Milliseconds, call: () => Promise<T>): Promise<T | undefined> {
  const answer = quietly(call)
  return (await settles(answer, limit)) ? answer : undefined
}
