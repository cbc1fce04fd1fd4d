import { setTimeout as delay } from "node:timers/promises"
import type { Milliseconds } from "../../protocol/time.ts"

/** As long as a busy machine needs. */
const PATIENCE: Milliseconds = 60_000

/** Whether it came true before patience ran out; an error while asking is a no. */
export async function comesTrue(
  ask: () => boolean | Promise<boolean>,
  patience: Milliseconds = PATIENCE,
): Promise<boolean> {
  const end = performance.now() + patience
  for (;;) {
    if (
      await Promise.resolve()
        .then(ask)
        .catch(() => false)
    )
      return true
    if (performance.now() > end) return false
    await delay(10)
  }
}

/** @throws {Error} where the fault, or what it needs, did not come about: nothing would be proven then */
export async function insist(what: string, ask: () => boolean | Promise<boolean>): Promise<void> {
  let cause: unknown
  const asked = async (): Promise<boolean> => {
    try {
      return await ask()
    } catch (error) {
      cause = error
      return false
    }
  }
  if (await comesTrue(asked)) return
  const why = cause instanceof Error ? `: ${cause.message}` : ""
  throw new Error(`it did not come about that ${what}${why}`, { cause })
}
