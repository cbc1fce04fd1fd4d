import { concernedTargets } from "./concern.ts"
import type { Config } from "./config/schema.ts"
import { Problem } from "./errors.ts"
import { type EntryBody, NO_SELECTORS, type Publisher } from "./invalidation.ts"
import type { Namespace } from "./namespace.ts"
import { publish, settingsFor } from "./publish.ts"
import { type Store, StoreError } from "./store.ts"

/** What a publish is answered with. */
export interface Resynced {
  readonly id: string
  readonly epoch: number
  readonly tenant: string
  readonly namespace: Namespace | null
  readonly duplicate: false
  readonly targets: readonly string[]
  readonly warnings: readonly string[]
}

/**
 * Invalidates a namespace, or all of a tenant, as a whole because somebody asked for it: at every target and at
 * request time, as hard as `relay.resync.mode` says.
 *
 * @param namespace null: all of the tenant, which every target follows as any resync
 * @throws {Problem} `unknown_namespace`
 * @throws {StoreError}
 */
export async function resync(
  store: Store,
  config: Config,
  tenant: string,
  { namespace, by }: { readonly namespace: Namespace | null; readonly by: Publisher },
): Promise<Resynced> {
  const body: EntryBody = {
    kind: namespace === null ? "resync" : "invalidation",
    namespace,
    mode: config.relay.resync.mode,
    by,
    cause: "asked for",
    ...NO_SELECTORS,
  }
  const settings = settingsFor(config, tenant, body)
  if (!settings) {
    throw new Problem("unknown_namespace", "The namespace is not declared, nor is one that it lies below.", {
      errors: [{ pointer: "/namespace", detail: "is not declared" }],
    })
  }
  const entries = [{ body, settings, passes: [] }]
  const outcome = await publish(store, { tenant, entries, maxEntries: config.log.maxEntries })
  const epoch = "entries" in outcome ? outcome.entries[0]?.epoch : undefined
  if (epoch === undefined) throw new StoreError("refused", "the publish script answered no entry")
  const targets = concernedTargets(body, tenant, config.targets)
  return { id: String(epoch), epoch, tenant, namespace, duplicate: false, targets, warnings: [] }
}
