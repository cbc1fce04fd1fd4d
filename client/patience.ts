import type { Milliseconds } from "../protocol/time.ts"

/**
 * Waits for something that another request began, but not for ever. In a Worker, work ends with the request that began
 * it unless `waitUntil` keeps it, and a promise of such work never settles.
 *
 * @returns whether it settled in time, fulfilled or not
 */
export async function settles(promise: Promise<unknown>, within: Milliseconds): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const outOfPatience = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), within)
  })
  const settled = promise.then(
    () => true,
    () => true,
  )
  try {
    return await Promise.race([settled, outOfPatience])
  } finally {
    clearTimeout(timer)
  }
}
