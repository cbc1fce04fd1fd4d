import {
  cursorKey,
  deadKey,
  dueItemsKey,
  dueKey,
  headKey,
  lanesKey,
  lateKey,
  laterAfterKey,
  laterItemsKey,
  laterKey,
  leaseKey,
  logKey,
  namespaceKey,
  namespacesKey,
  neverKey,
  nodesKey,
  sentKey,
  taggedKey,
  tagsKey,
} from "../protocol/keys.ts"
import { type Namespace, ROOT } from "../protocol/namespace.ts"
import { targetOf } from "../protocol/nodes.ts"
import { asideScript } from "../protocol/scripts.gen.ts"
import { asList, asText, type Store, StoreError } from "../protocol/store.ts"
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
  return renameWrong(store, types, now)
}

/**
 * The same of a namespace's row and tags, of the root's row, and of what publishes need beside them. What is lost with
 * them is made good by `invalidate`: of the namespace as a whole, or with a null of all of the tenant. Of head and log
 * no more has to be done: lanes and relays find out.
 *
 * @returns the keys that were renamed
 * @throws {StoreError}
 */
export async function setNamespaceAside(
  store: Store,
  tenant: string,
  namespace: Namespace,
  { now, invalidate }: { now: Milliseconds; invalidate: (namespace: Namespace | null) => Promise<unknown> },
): Promise<string[]> {
  const counts: Types = new Map([
    [namespacesKey(tenant), "string"],
    [taggedKey(tenant), "hash"],
  ])
  const passes: Types = new Map([
    [laterKey(tenant), "zset"],
    [laterItemsKey(tenant), "hash"],
    [laterAfterKey(tenant), "zset"],
  ])
  const keys = [...(await setAside(store, tenant, [], now)), ...(await renameWrong(store, counts, now))]
  for (const name of new Set([ROOT, namespace])) {
    const own = [namespaceKey(tenant, name), tagsKey(tenant, name)]
    const asides = own.map((key) => aside(key, now))
    const renamed = asList(
      await store.script(asideScript, [headKey(tenant), ...own, ...asides, neverKey(tenant)], []),
    )
    // Until then nothing of it is fresh.
    if (renamed.length > 0) await invalidate(name === ROOT ? null : name)
    keys.push(...renamed.map((key) => asText(key) ?? ""))
  }
  // Before they are gone: targets have skipped what was to settle first.
  if ((await findWrong(store, passes)).length > 0) await invalidate(null)
  return [...keys, ...(await renameWrong(store, passes, now))]
}

/** Which of some namespaces have a key that is none of ours. @throws {StoreError} */
export async function findBroken(
  store: Store,
  tenant: string,
  namespaces: readonly Namespace[],
): Promise<Namespace[]> {
  const keysOf = (name: Namespace): Types =>
    new Map([
      [namespaceKey(tenant, name), "string"],
      [tagsKey(tenant, name), "zset"],
    ])
  const wrong = new Set(await findWrong(store, new Map(namespaces.flatMap((name) => [...keysOf(name)]))))
  return namespaces.filter((name) => [...keysOf(name).keys()].some((key) => wrong.has(key)))
}

type Types = ReadonlyMap<string, string>

const aside = (key: string, now: Milliseconds): string => `${key}:aside:${now}`

async function renameWrong(store: Store, types: Types, now: Milliseconds): Promise<string[]> {
  const wrong = await findWrong(store, types)
  // Two relays may meet it at once: whoever comes second finds nothing to rename.
  for (const key of wrong) {
    try {
      await store.pipeline([["RENAME", key, aside(key, now)]])
    } catch (error) {
      if (!(error instanceof StoreError && error.message.includes("no such key"))) throw error
    }
  }
  return wrong
}

async function findWrong(store: Store, types: Types): Promise<string[]> {
  const keys = [...types.keys()]
  const found = await store.pipeline(keys.map((key) => ["TYPE", key]))
  return keys.filter((key, index) => {
    const type = asText(found[index])
    return type !== "none" && type !== types.get(key)
  })
}
