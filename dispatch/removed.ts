import {
  cursorKey,
  deadKey,
  dueItemsKey,
  dueKey,
  lanesKey,
  lateKey,
  leaseKey,
  removedKey,
  sentKey,
  verifiedKey,
  verifyKey,
} from "../protocol/keys.ts"
import { type DeadLetter, encodeOwed, MAX_LETTERS, parseDue } from "../protocol/letter.ts"
import { NO_SELECTORS } from "../protocol/invalidation.ts"
import { readHash } from "../protocol/record.ts"
import type { Store } from "../protocol/store.ts"
import { DAY, type Milliseconds } from "../protocol/time.ts"

/** How long a target may be in no relay's configuration before what it has not read is no longer kept for it. */
const KEEP_REMOVED: Milliseconds = DAY

export interface Removed {
  readonly target: string
  /** Items that it owed, dead letters now. */
  readonly letters: number
  /** Its cursor is gone: the log is no longer kept for it. Should it come back, it begins with a resync. */
  readonly dropped: boolean
}

/**
 * Looks after targets that no live relay has configured: what they owe is set aside as dead letters at once, and after
 * a day their cursors go, which would else keep the log from being trimmed for ever. Dead letters stay.
 *
 * @param live the tenant's targets that any live relay has
 * @returns those of which there is something to tell
 * @throws {StoreError}
 */
export async function lookAfterRemoved(
  store: Store,
  tenant: string,
  live: ReadonlySet<string>,
  now: Milliseconds,
): Promise<Removed[]> {
  const [cursors, seen] = (
    await store.pipeline([
      ["HGETALL", cursorKey(tenant)],
      ["HGETALL", removedKey(tenant)],
    ])
  ).map(readHash)
  const back = [...(seen?.keys() ?? [])].filter((target) => live.has(target) || !cursors?.has(target))
  if (back.length > 0) await store.pipeline([["HDEL", removedKey(tenant), ...back]])
  const told: Removed[] = []
  for (const target of [...(cursors?.keys() ?? [])].filter((name) => !live.has(name))) {
    const letters = await setItemsAside(store, tenant, target, now)
    const since = Number(seen?.get(target) ?? Number.NaN)
    const dropped = now - since >= KEEP_REMOVED
    if (Number.isNaN(since)) await store.pipeline([["HSET", removedKey(tenant), target, String(now)]])
    if (dropped) await drop(store, tenant, target)
    if (letters > 0 || dropped || Number.isNaN(since)) told.push({ target, letters, dropped })
  }
  return told
}

async function setItemsAside(
  store: Store,
  tenant: string,
  target: string,
  at: Milliseconds,
): Promise<number> {
  const [reply] = await store.pipeline([["HGETALL", dueItemsKey(tenant, target)]])
  const items = [...readHash(reply)]
  for (const [id, text] of items) {
    const item = parseDue(text)
    const { why: _, ...owed } = item ?? { why: "", ...NO_SELECTORS, namespace: null, epochs: [] }
    const letter: DeadLetter = {
      mode: "invalidate",
      ...owed,
      error: "the target is in no relay's configuration any more",
      at,
      ...(item ? {} : { raw: text.slice(0, 4_096) }),
    }
    // In this order: stopped in between, it is set aside twice, never lost.
    await store.pipeline([
      ["XADD", deadKey(tenant, target), "MAXLEN", "~", String(MAX_LETTERS), "*", "d", encodeOwed(letter)],
      ["ZREM", dueKey(tenant, target), id],
      ["HDEL", dueItemsKey(tenant, target), id],
    ])
  }
  return items.length
}

const drop = (store: Store, tenant: string, target: string) =>
  store.pipeline([
    ["HDEL", cursorKey(tenant), target],
    ["HDEL", lanesKey(tenant), target],
    ["HDEL", removedKey(tenant), target],
    ...[leaseKey, sentKey, lateKey, dueKey, dueItemsKey, verifyKey, verifiedKey].map((keyOf) => [
      "DEL",
      keyOf(tenant, target),
    ]),
  ])
