import type { Epoch } from "../protocol/epoch.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { deliver, type Delivered, type DeliverContext, type Refusal } from "./deliver.ts"
import { type Item, keyOf, type Plan, type PlanContext, planWider } from "./plan.ts"

/** What became of a plan, with what was sent instead for which epochs. */
export interface CarriedOut extends Delivered {
  readonly as: ReadonlyMap<Epoch, string>
}

/** A value that was refused by itself, and what is to stand for it. */
interface Tried {
  readonly refusal: Refusal
  readonly wider: Plan
}

/**
 * Calls the vendor for a plan, and once more, wider, for what it refused by itself. Where it refuses all of that too, it
 * is not about what was asked: then it stops, as for credentials, and nothing is given up. Never rejects.
 */
export async function carryOut(
  plan: Plan,
  planning: PlanContext,
  delivery: DeliverContext,
): Promise<CarriedOut> {
  const stopped = await askSuspects(plan.items, delivery)
  if (stopped) return { ...stopped, as: plan.as }
  const first = await deliver(plan.items, delivery)
  if (first.stop || first.refused.length === 0) return { ...first, as: plan.as }
  const isWidened = planning.target.onUnsupported !== "skip"
  const refusedKeys = new Set(first.refused.map(({ item }) => keyOf(item.kind, item.value)))
  const tried = first.refused.map((refusal) => ({
    refusal,
    wider: isWidened ? planWider(refusal.item, planning) : NOTHING,
  }))
  // Something must stand for all of it; and what is as wide as it gets, and was refused already, would be again.
  const isUsable = ({ items, impossible }: Plan): boolean =>
    items.length > 0 &&
    impossible.length === 0 &&
    !items.some(({ kind, value }) => refusedKeys.has(keyOf(kind, value)))
  const usable = tried.filter(({ wider }) => isUsable(wider))
  const second = await deliver(merge(usable.flatMap(({ wider }) => wider.items)), delivery)
  const refusedWider = new Map(second.refused.map((one) => [keyOf(one.item.kind, one.item.value), one]))
  const found = {
    calls: [...first.calls, ...second.calls],
    callCount: first.callCount + second.callCount,
    taken: first.taken + second.taken,
  }
  const isAll = first.refused.length === plan.items.length
  if (isAll && found.taken === 0 && !second.stop && isAboutUs(tried, refusedWider)) {
    for (const key of refusedKeys) delivery.suspects.add(key)
    // What was taken before may have been by credentials that are no longer good: it is asked again when they are.
    delivery.accepted.clear()
    return { ...found, refused: [], stop: pauseOf(first.refused), as: plan.as }
  }
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
  return { ...found, refused, ...(second.stop ? { stop: second.stop } : {}), as }
}

const NOTHING: Plan = { items: [], impossible: [], settling: [], as: new Map() }

/**
 * Whether a vendor that took nothing at all is of that mind about us, whatever its words: a clock that is off, a zone
 * that is not ours, an account that is closed. It is where even what is as wide as it gets was refused, or where several
 * values were and nothing stands for them. One value alone may be at fault, unless what is wider is refused in the same
 * words: a pause keeps it, and once anything is taken it becomes a dead letter.
 */
function isAboutUs(tried: readonly Tried[], refusedWider: ReadonlyMap<string, Refusal>): boolean {
  // What we know by ourselves is none of the vendor's answers.
  if (tried.some(({ refusal }) => refusal.state !== "dead")) return false
  const ofItself = new Map(
    tried.map(({ refusal }) => [keyOf(refusal.item.kind, refusal.item.value), refusal]),
  )
  const widest = tried.map(({ refusal, wider }) => ({
    refusal,
    refusals: wider.items.map((item) => {
      const key = keyOf(item.kind, item.value)
      return refusedWider.get(key) ?? ofItself.get(key)
    }),
  }))
  // One address may be asked in several spellings.
  const isMany = new Set(tried.map(({ refusal: { item } }) => keyOf(item.kind, item.meant))).size > 1
  const isEvenWider = widest.some(
    ({ refusal, refusals }) =>
      refusal.item.kind === "everything" ||
      (refusals.length > 0 &&
        refusals.every((one) => one !== undefined && (isMany || isAlike(one, refusal)))),
  )
  return isEvenWider || (isMany && widest.every(({ refusals }) => refusals.length === 0))
}

/** Whether two refusals say the same, but for the value that they are about, and numbers. */
const isAlike = (a: Refusal, b: Refusal): boolean => wordsOf(a) === wordsOf(b)

const wordsOf = ({ detail, item }: Refusal): string =>
  [item.value, item.meant]
    .reduce((rest, value) => rest.replaceAll(asWord(value), "*"), detail)
    .replaceAll(/[0-9a-f-]*\d[0-9a-f-]*/gi, "#")

/** Not within another word: a tag may be a single letter. */
const asWord = (text: string): RegExp =>
  new RegExp(`(?<!\\w)${text.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, "\\$&")}(?!\\w)`, "g")

function pauseOf(refused: readonly Refusal[]) {
  const detail = refused[0]?.detail ?? ""
  const all = refused.length === 1 ? "what was asked" : `all of ${refused.length} values`
  return {
    state: "paused" as const,
    detail: `${all} was refused, and what is wider too, so it is not about that: ${detail}`,
    mend: "secrets" as const,
  }
}

/**
 * What was refused when everything was is not asked as a whole again, which would use up an account's limits for
 * nothing: one of it is, beside what is new. Undefined once anything is taken.
 */
async function askSuspects(items: readonly Item[], delivery: DeliverContext): Promise<Delivered | undefined> {
  const { suspects } = delivery
  const isSuspect = ({ kind, value }: Item): boolean => suspects.has(keyOf(kind, value))
  const known = items.find(isSuspect)
  if (!known) {
    suspects.clear()
    return undefined
  }
  const asked = [...items.filter((item) => !isSuspect(item)), known]
  const found = await deliver(asked, { ...delivery, accepted: new Map() })
  if (found.taken > 0) {
    suspects.clear()
    return found.stop && found
  }
  if (found.stop) return found
  for (const { kind, value } of asked) suspects.add(keyOf(kind, value))
  return { ...found, refused: [], stop: pauseOf(found.refused) }
}

/** What was sent instead, of both. */
const joined = (a: string | undefined, b: string): string =>
  [...new Set([...(a?.split(", ") ?? []), ...b.split(", ")])].toSorted().join(", ")

/** Items of several plans, the same one only once and as hard as the hardest. */
function merge(items: readonly Item[]): Item[] {
  interface Merged {
    item: Item
    readonly namespaces: Set<Namespace>
    readonly epochs: Set<Epoch>
  }
  const merged = new Map<string, Merged>()
  for (const item of items) {
    const key = keyOf(item.kind, item.value)
    const known: Merged = merged.get(key) ?? { item, namespaces: new Set(), epochs: new Set() }
    merged.set(key, known)
    if (item.mode === "purge") known.item = item
    // Into one set, as thousands of values may be said by one that is wider.
    for (const namespace of item.namespaces) known.namespaces.add(namespace)
    for (const epoch of item.epochs) known.epochs.add(epoch)
  }
  return [...merged.values()].map(({ item, namespaces, epochs }) => ({
    ...item,
    namespaces: [...namespaces],
    epochs: [...epochs],
  }))
}
