import type { Epoch } from "../protocol/epoch.ts"
import { deliver, type Delivered, type DeliverContext, type Refusal } from "./deliver.ts"
import { type Item, keyOf, type Plan, type PlanContext, planWider } from "./plan.ts"

/** What became of a plan, with what was sent instead for which epochs. */
export interface CarriedOut extends Delivered {
  readonly as: ReadonlyMap<Epoch, string>
}

/** Calls the vendor for a plan, and once more, wider, for what it refused by itself. Never rejects. */
export async function carryOut(
  plan: Plan,
  planning: PlanContext,
  delivery: DeliverContext,
): Promise<CarriedOut> {
  const first = await deliver(plan.items, delivery)
  if (first.stop || first.refused.length === 0 || planning.target.onUnsupported === "skip") {
    return { ...first, as: plan.as }
  }
  const refusedKeys = new Set(first.refused.map(({ item }) => keyOf(item.kind, item.value)))
  const tried = first.refused.map((refusal) => ({ refusal, wider: planWider(refusal.item, planning) }))
  // Something must stand for all of it; and what is as wide as it gets, and was refused already, would be again.
  const isUsable = ({ items, impossible }: Plan): boolean =>
    items.length > 0 &&
    impossible.length === 0 &&
    !items.some(({ kind, value }) => refusedKeys.has(keyOf(kind, value)))
  const usable = tried.filter(({ wider }) => isUsable(wider))
  const second = await deliver(merge(usable.flatMap(({ wider }) => wider.items)), delivery)
  const refusedWider = new Map(second.refused.map((one) => [keyOf(one.item.kind, one.item.value), one]))
  const as = new Map(plan.as)
  const refused: Refusal[] = []
  for (const { refusal, wider } of tried) {
    const failed = wider.items.map(({ kind, value }) => refusedWider.get(keyOf(kind, value)))
    const worst = failed.find((one) => one !== undefined)
    // It is told as it was published: whoever mends it looks for that, and not for what was to stand for it.
    if (worst) refused.push({ ...refusal, detail: `${refusal.detail}; and wider: ${worst.detail}` })
    else if (!isUsable(wider)) refused.push(refusal)
    else for (const [epoch, what] of wider.as) as.set(epoch, joined(as.get(epoch), what))
  }
  return {
    calls: [...first.calls, ...second.calls],
    callCount: first.callCount + second.callCount,
    refused,
    ...(second.stop ? { stop: second.stop } : {}),
    as,
  }
}

/** What was sent instead, of both. */
const joined = (a: string | undefined, b: string): string =>
  [...new Set([...(a?.split(", ") ?? []), ...b.split(", ")])].toSorted().join(", ")

/** Items of several plans, the same one only once and as hard as the hardest. */
function merge(items: readonly Item[]): Item[] {
  const merged = new Map<string, Item>()
  for (const item of items) {
    const key = keyOf(item.kind, item.value)
    const known = merged.get(key)
    merged.set(key, {
      ...item,
      mode: known?.mode === "purge" ? "purge" : item.mode,
      namespaces: [...new Set([...(known?.namespaces ?? []), ...item.namespaces])],
      epochs: [...new Set([...(known?.epochs ?? []), ...item.epochs])],
    })
  }
  return [...merged.values()]
}
