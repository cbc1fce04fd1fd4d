import {
  cursorKey,
  deadKey,
  dueItemsKey,
  dueKey,
  lanesKey,
  lateKey,
  leaseKey,
  nodesKey,
  removedKey,
  sentKey,
  verifiedKey,
  verifyKey,
} from "../protocol/keys.ts"
import { type DeadLetter, encodeOwed, MAX_LETTERS, parseDue } from "../protocol/letter.ts"
import { NO_SELECTORS } from "../protocol/invalidation.ts"
import { nodeOf, targetOf } from "../protocol/nodes.ts"
import { readHash } from "../protocol/record.ts"
import type { Store } from "../protocol/store.ts"
import { DAY, HOUR, type Milliseconds } from "../protocol/time.ts"

/** How long a target may be in no relay's configuration before what it has not read is no longer kept for it. */
const KEEP_REMOVED: Milliseconds = DAY

/** The same of a node that its name no longer leads to: as long as one that comes back may still have its cache. */
const KEEP_NODE: Milliseconds = HOUR

export interface Removed {
  readonly target: string
  /** Items that it owed, dead letters now. */
  readonly letters: number
  /** Its cursor is gone: the log is no longer kept for it. Should it come back, it begins with a resync. */
  readonly dropped: boolean
}

/**
 * Looks after targets that no live relay has configured: what they owe is set aside as dead letters at once, and after
 * a day their cursors go, which would else keep the log from being trimmed for ever. Dead letters stay. Of a node that
 * is gone nothing is owed to anybody; it is forgotten after an hour.
 *
 * @param live the tenant's lanes that any live relay has; of a target that is off, all it had before are kept
 * @returns those of which there is something to tell
 * @throws {StoreError}
 */
export async function lookAfterRemoved(
  store: Store,
  tenant: string,
  { live, off = new Set() }: { readonly live: ReadonlySet<string>; readonly off?: ReadonlySet<string> },
  now: Milliseconds,
): Promise<Removed[]> {
  const isLive = (lane: string): boolean => live.has(lane) || off.has(targetOf(lane))
  const targets = new Set([...live].map(targetOf))
  const [cursors, seen] = (
    await store.pipeline([
      ["HGETALL", cursorKey(tenant)],
      ["HGETALL", removedKey(tenant)],
    ])
  ).map(readHash)
  const back = [...(seen?.keys() ?? [])].filter((lane) => isLive(lane) || !cursors?.has(lane))
  if (back.length > 0) await store.pipeline([["HDEL", removedKey(tenant), ...back]])
  const told: Removed[] = []
  for (const target of [...(cursors?.keys() ?? [])].filter((lane) => !isLive(lane))) {
    const isNode = nodeOf(target) !== undefined && targets.has(targetOf(target))
    const letters = isNode ? 0 : await setItemsAside(store, tenant, target, now)
    const since = Number(seen?.get(target) ?? Number.NaN)
    const dropped = now - since >= (isNode ? KEEP_NODE : KEEP_REMOVED)
    if (Number.isNaN(since)) await store.pipeline([["HSET", removedKey(tenant), target, String(now)]])
    if (dropped) await drop(store, tenant, target, targets.has(targetOf(target)))
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
  const node = nodeOf(target)
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
      ...(node === undefined ? {} : { node }),
      ...(item ? {} : { raw: text.slice(0, 4_096) }),
    }
    // In this order: stopped in between, it is set aside twice, never lost.
    await store.pipeline([
      [
        "XADD",
        deadKey(tenant, targetOf(target)),
        "MAXLEN",
        "~",
        String(MAX_LETTERS),
        "*",
        "d",
        encodeOwed(letter),
      ],
      ["ZREM", dueKey(tenant, target), id],
      ["HDEL", dueItemsKey(tenant, target), id],
    ])
  }
  return items.length
}

const drop = (store: Store, tenant: string, target: string, isTargetLive: boolean) =>
  store.pipeline([
    ["HDEL", cursorKey(tenant), target],
    ["HDEL", lanesKey(tenant), target],
    ["HDEL", removedKey(tenant), target],
    ...(isTargetLive ? [] : [["HDEL", nodesKey(tenant), targetOf(target)]]),
    ...[leaseKey, sentKey, lateKey, dueKey, dueItemsKey, verifyKey, verifiedKey].map((keyOf) => [
      "DEL",
      keyOf(tenant, target),
    ]),
  ])
