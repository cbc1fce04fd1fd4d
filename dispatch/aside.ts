import {
  cursorKey,
  deadKey,
  dueItemsKey,
  dueKey,
  headKey,
  lanesKey,
  lateKey,
  leaseKey,
  logKey,
  nodesKey,
  sentKey,
} from "../protocol/keys.ts"
import { targetOf } from "../protocol/nodes.ts"
import { asText, type Store, StoreError } from "../protocol/store.ts"
import type { Milliseconds } from "../protocol/time.ts"

/** Whether Redis said that a key is of another type than ours are. */
export const isWrongType = (error: unknown): boolean =>
  error instanceof StoreError && error.message.startsWith("WRONGTYPE")

/**
 * Renames what stands under a tenant's key without being what we write there: whatever it is, it is not for us to drop,
 * and no lane may wait for it for ever. What is missed for it shows as a gap.
 *
 * @returns the keys that were renamed
 * @throws {StoreError}
 */
export async function setAside(
  store: Store,
  tenant: string,
  lanes: readonly string[],
  now: Milliseconds,
): Promise<string[]> {
  const types = new Map<string, string>([
    [headKey(tenant), "string"],
    [logKey(tenant), "stream"],
    [cursorKey(tenant), "hash"],
    [lanesKey(tenant), "hash"],
    [nodesKey(tenant), "hash"],
    ...lanes.flatMap((target): [string, string][] => [
      [leaseKey(tenant, target), "string"],
      [sentKey(tenant, target), "stream"],
      [lateKey(tenant, target), "zset"],
      [dueKey(tenant, target), "zset"],
      [dueItemsKey(tenant, target), "hash"],
      [deadKey(tenant, targetOf(target)), "stream"],
    ]),
  ])
  const keys = [...types.keys()]
  const found = await store.pipeline(keys.map((key) => ["TYPE", key]))
  const wrong = keys.filter((key, index) => {
    const type = asText(found[index])
    return type !== "none" && type !== types.get(key)
  })
  // Two relays may meet it at once: whoever comes second finds nothing to rename.
  for (const key of wrong) {
    try {
      await store.pipeline([["RENAME", key, `${key}:aside:${now}`]])
    } catch (error) {
      if (!(error instanceof StoreError && error.message.includes("no such key"))) throw error
    }
  }
  return wrong
}
