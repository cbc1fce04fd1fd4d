import { sha256, toHex, utf8 } from "../protocol/bytes.ts"
import { canonicalJson } from "../protocol/canonical.ts"
import type { Mode } from "../protocol/invalidation.ts"
import type { Item } from "./plan.ts"
import type { Batch, Capabilities } from "./targets/target.ts"

/** Some items of one mode, small enough for one call. */
export interface Bundle {
  readonly mode: Mode
  readonly items: readonly Item[]
}

/** Cuts items to the vendor's sizes: as few calls as those allow. */
export function cut(
  items: readonly Item[],
  { kinds, mixed, oneHost = false, maxBytes = Number.POSITIVE_INFINITY, valueOverhead = 1 }: Capabilities,
): Bundle[] {
  const size = (item: Item): number => utf8(item.value).length + valueOverhead
  const groups = new Map<string, { mode: Mode; limit: number; most: number; items: Item[] }>()
  const all = Math.min(...Object.values(kinds).map(({ batch }) => batch))
  for (const item of items) {
    const host = oneHost && (item.kind === "url" || item.kind === "prefix") ? new URL(item.value).host : ""
    const key = mixed ? `${item.mode} ${host}` : `${item.mode} ${item.kind} ${host}`
    const limit = mixed ? all : (kinds[item.kind]?.batch ?? 1)
    const most = Math.min(maxBytes, (mixed ? undefined : kinds[item.kind]?.maxBytes) ?? maxBytes)
    const group = groups.get(key) ?? { mode: item.mode, limit, most, items: [] }
    groups.set(key, group)
    group.items.push(item)
  }
  return [...groups.values()].flatMap(({ mode, limit, most, items: members }) => {
    const bundles: Item[][] = []
    let bytes = 0
    for (const item of members) {
      const last = bundles.at(-1)
      if (last && last.length < limit && bytes + size(item) <= most) {
        last.push(item)
        bytes += size(item)
      } else {
        bundles.push([item])
        bytes = size(item)
      }
    }
    return bundles.map((bundle) => ({ mode, items: bundle }))
  })
}

/** The two halves of a bundle that a vendor refused. */
export function halves({ mode, items }: Bundle): Bundle[] {
  const middle = Math.ceil(items.length / 2)
  return [items.slice(0, middle), items.slice(middle)].map((half) => ({ mode, items: half }))
}

/** The call that a bundle is. Its id depends on nothing but what is in it: a repeated attempt has the same. */
export async function toBatch(tenant: string, target: string, { mode, items }: Bundle): Promise<Batch> {
  const values = items.map(({ kind, value, namespaces }) => ({ kind, value, namespaces }))
  // A loop: an argument list has a limit, and a backlog is longer.
  let [first, last] = [items[0]?.epochs[0] ?? 0, 0]
  for (const { epochs } of items) {
    for (const epoch of epochs) {
      first = Math.min(first, epoch)
      last = Math.max(last, epoch)
    }
  }
  const name = canonicalJson([tenant, target, mode, first, last, values])
  const id = `inv_${toHex(await sha256(utf8(name))).slice(0, 32)}`
  return { id, mode, values, tenant, epochs: { first, last } }
}
