import { type Head, parseHead } from "../protocol/epoch.ts"
import {
  cursorKey,
  dueKey,
  headKey,
  laterAfterKey,
  laterKey,
  removedKey,
  verifyKey,
} from "../protocol/keys.ts"
import { readHash } from "../protocol/record.ts"
import { restScript } from "../protocol/scripts.gen.ts"
import { asList, asText, type Reply, type Store } from "../protocol/store.ts"
import type { Milliseconds } from "../protocol/time.ts"

/** What waits for somebody, of one tenant whose lanes rest. */
export interface Rested {
  readonly head: Head | undefined
  /** Of each lane that ever read this log; undefined where the key is none of ours. */
  readonly cursors: ReadonlyMap<string, string> | undefined
  /** Lanes that no relay had configured when somebody last looked. */
  readonly removed: ReadonlyMap<string, string>
  /** ms since 1970 at which the first pass is due; 0 where the key is none of ours. */
  readonly passAt: Milliseconds | undefined
  /** Whether a second pass waits for its first to be handled. */
  readonly hasWaiting: boolean
  /** When the first due item of each lane is to be tried, in the order asked. */
  readonly dueAt: readonly (Milliseconds | undefined)[]
  /** The same of each target whose purges are looked after. */
  readonly verifyAt: readonly (Milliseconds | undefined)[]
}

/** Asks by one command for all that wakes and timers of this relay may have missed. @throws {StoreError} */
export async function rest(
  store: Store,
  tenant: string,
  { lanes, verified }: { readonly lanes: readonly string[]; readonly verified: readonly string[] },
): Promise<Rested> {
  const keys = [
    headKey(tenant),
    cursorKey(tenant),
    removedKey(tenant),
    laterKey(tenant),
    laterAfterKey(tenant),
    ...lanes.map((lane) => dueKey(tenant, lane)),
    ...verified.map((target) => verifyKey(tenant, target)),
  ]
  const [head, cursors, removed, due] = asList(await store.script(restScript, keys, []))
  const [later, after, ...firsts] = asList(due).map(timeOf)
  return {
    head: parseHead(asText(head)),
    cursors: Array.isArray(cursors) ? readHash(cursors) : undefined,
    removed: readHash(removed),
    // Passes are due in microseconds.
    passAt: later === undefined ? undefined : later / 1000,
    hasWaiting: after !== undefined,
    dueAt: lanes.map((_, index) => firsts[index]),
    verifyAt: verified.map((_, index) => firsts[lanes.length + index]),
  }
}

function timeOf(reply: Reply): number | undefined {
  const text = asText(reply)
  return text === undefined ? undefined : Number(text)
}
