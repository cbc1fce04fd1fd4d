import { findNamespace } from "../protocol/config/config.ts"
import type { Config } from "../protocol/config/schema.ts"
import { namespaceKey, neverKey, taggedKey, tagsKey } from "../protocol/keys.ts"
import { chain, type Namespace } from "../protocol/namespace.ts"
import { readHash } from "../protocol/record.ts"
import { sweepScript } from "../protocol/scripts.gen.ts"
import type { Store } from "../protocol/store.ts"
import { DAY } from "../protocol/time.ts"

/** Namespaces a script. Each costs it a few reads. */
const PAGE = 50

export interface SweepOptions {
  readonly store: Store
  readonly tenant: string
  readonly config: Config
  /** Ends it between two scripts. */
  readonly signal?: AbortSignal
}

/**
 * Lets tags of a tenant go that say nothing any more, also in namespaces that nobody publishes in, in steps that hold
 * Redis up for no more than a millisecond. A publish does the same of its own namespaces.
 *
 * @throws {StoreError}
 */
export async function sweepTags({ store, tenant, config, signal }: SweepOptions): Promise<void> {
  const [tagged] = await store.pipeline([["HGETALL", taggedKey(tenant)]])
  const prefix = tagsKey(tenant, "")
  const keys = [...readHash(tagged).keys()].filter((key) => key.startsWith(prefix))
  const namespaces = keys.map((key) => key.slice(prefix.length))
  for (let from = 0; from < namespaces.length; from += PAGE) {
    const page = namespaces.slice(from, from + PAGE)
    let left: number
    do {
      if (signal?.aborted) return
      left = await sweepPage(store, tenant, config, page)
    } while (left > 0)
  }
}

async function sweepPage(
  store: Store,
  tenant: string,
  config: Config,
  namespaces: readonly Namespace[],
): Promise<number> {
  const keys = [neverKey(tenant), taggedKey(tenant)]
  const args: string[] = []
  for (const namespace of namespaces) {
    const above = chain(namespace).filter((name) => name !== namespace)
    const rows = above.map((name) => namespaceKey(tenant, name))
    keys.push(namespaceKey(tenant, namespace), tagsKey(tenant, namespace), ...rows)
    // Of one that is no longer declared, for the longest default.
    const { maxCacheTtl } = findNamespace(config, tenant, namespace) ?? { maxCacheTtl: 30 * DAY }
    args.push(String(rows.length), String(maxCacheTtl * 1_000))
  }
  return Number(await store.script(sweepScript, keys, args))
}
