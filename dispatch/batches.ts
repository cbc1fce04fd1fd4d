import { byteLength, sha256, toHex, utf8 } from "../protocol/bytes.ts"
import { canonicalJson } from "../protocol/canonical.ts"
import type { Mode } from "../protocol/invalidation.ts"
import type { Item } from "./plan.ts"
import { atOnce, type Steps } from "./slices.ts"
import type { Batch, Capabilities } from "./targets/target.ts"

/** Some items of one mode, small enough for one call. */
export interface Bundle {
  readonly mode: Mode
  readonly items: readonly Item[]
}

/** Cuts items to the vendor's sizes: as few calls as those allow. */
export function* cutting(
  items: readonly Item[],
  { kinds, mixed, oneHost = false, maxBytes = Number.POSITIVE_INFINITY, valueOverhead = 1 }: Capabilities,
): Steps<Bundle[]> {
  const groups = new Map<string, Group>()
  const all = Math.min(...Object.values(kinds).map(({ batch }) => batch))
  for (const item of items) {
    yield item.value.length
    const host = oneHost && (item.kind === "url" || item.kind === "prefix") ? new URL(item.value).host : ""
    const key = mixed ? `${item.mode} ${host}` : `${item.mode} ${item.kind} ${host}`
    let group = groups.get(key)
    if (!group) {
      const limit = mixed ? all : (kinds[item.kind]?.batch ?? 1)
      const most = Math.min(maxBytes, (mixed ? undefined : kinds[item.kind]?.maxBytes) ?? maxBytes)
      group = { mode: item.mode, limit, most, bytes: 0, bundles: [] }
      groups.set(key, group)
    }
    const size = byteLength(item.value) + valueOverhead
    const last = group.bundles.at(-1)
    if (last && last.length < group.limit && group.bytes + size <= group.most) {
      last.push(item)
      group.bytes += size
    } else {
      group.bundles.push([item])
      group.bytes = size
    }
  }
  return [...groups.values()].flatMap(({ mode, bundles }) =>
    bundles.map((bundle) => ({ mode, items: bundle })),
  )
}

/** Bundles in the making. */
interface Group {
  readonly mode: Mode
  readonly limit: number
  readonly most: number
  /** Of the last of them. */
  bytes: number
  readonly bundles: Item[][]
}

/** The same at once. */
export const cut = (items: readonly Item[], capabilities: Capabilities): Bundle[] =>
  atOnce(cutting(items, capabilities))

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
