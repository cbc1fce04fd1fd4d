import { createHash } from "node:crypto"
import type { Script } from "../../protocol/store.ts"

/** The scripts as they are, but for the time, which a test says. */

/** Where it is said. */
export const CLOCK = "test:clock"
const TIME_CALL = "redis.call('TIME')"

/** A script whose clock comes from outside, as everyone's does here. */
const scripts = new Map<string, Script>()
export function timed(script: Script): Script {
  const known = scripts.get(script.name)
  if (known) return known
  const text = script.text.replaceAll(TIME_CALL, `redis.call('HMGET', '${CLOCK}', 's', 'us')`)
  if ((script.name === "publish" || script.name === "adopt") && text === script.text)
    throw new Error(`${script.name} does not ask for the time in the way that this test replaces`)
  const mine = { ...script, text, sha1: createHash("sha1").update(text).digest("hex") }
  scripts.set(script.name, mine)
  return mine
}
