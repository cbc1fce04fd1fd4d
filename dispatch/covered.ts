import { ancestors, isWithin } from "../protocol/namespace.ts"
import type { Mode } from "../protocol/invalidation.ts"
import { type Draft, keyOf } from "./plan.ts"
import type { Steps } from "./slices.ts"
import type { Kind } from "./targets/target.ts"

/** What covers others, widest first; then what covers nothing. */
const WIDEST_FIRST: readonly Kind[] = ["everything", "namespace", "host", "prefix", "url", "tag"]
const COVERING = WIDEST_FIRST.indexOf("url")
const MODES: readonly Mode[] = ["purge", "invalidate"]

/**
 * Drops what something wider *and at least as hard* covers. Claimed only as far as it can be proven: a prefix or a
 * host over urls and prefixes below it; never over tags, as pages elsewhere may carry them.
 *
 * Each item costs about its own bytes, whatever else there is: what may cover it is looked up along its own path.
 */
export function* withoutCovered(items: ReadonlyMap<string, Draft>): Steps<Draft[]> {
  const all = [...items.values()]
  // The usual backlog: these cover nothing, and there are many of them.
  if (all.every(({ kind }) => kind === "tag" || kind === "url")) return all
  // Only what is kept itself covers anything: two prefixes may cover each other (`…/blog` and `…/blog/`), and what a
  // namespace covers may itself cover what lies in another.
  const kept = new Set<Draft>()
  const prefixes = new Prefixes()
  for (const item of yield* inOrder(all)) {
    yield item.value.length
    const outer = outerOf(item, items, kept, prefixes)
    if (!outer) {
      kept.add(item)
      if (item.kind === "prefix") prefixes.add(item)
      continue
    }
    // What becomes of the wider one becomes of all that it stands for, and what stands for it must stand for them.
    for (const epoch of item.epochs) outer.epochs.push(epoch)
    if (!(outer.namespaces instanceof Set)) outer.namespaces = new Set(outer.namespaces)
    for (const namespace of item.namespaces) outer.namespaces.add(namespace)
  }
  return all.filter((item) => kept.has(item))
}

/**
 * The hard ones first, as nothing soft covers them; of each the widest kind first, and of a kind that covers its own the
 * shorter ones. By buckets, as a sort of a whole backlog is one long step.
 */
function* inOrder(all: readonly Draft[]): Steps<Draft[]> {
  const ranks: Draft[][][] = []
  for (const item of all) {
    yield 1
    const kind = WIDEST_FIRST.indexOf(item.kind)
    const rank = MODES.indexOf(item.mode) * WIDEST_FIRST.length + kind
    const lengths = (ranks[rank] ??= [])
    const length = kind < COVERING ? item.value.length : 0
    const bucket = lengths[length]
    if (bucket) bucket.push(item)
    else lengths[length] = [item]
  }
  // Sparse: what is not there is passed over.
  return ranks.flatMap((lengths) => lengths.flat())
}

/** Something kept that covers an item. */
function outerOf(
  item: Draft,
  items: ReadonlyMap<string, Draft>,
  kept: ReadonlySet<Draft>,
  prefixes: Prefixes,
): Draft | undefined {
  const isOuter = (other: Draft | undefined): other is Draft =>
    other !== undefined && kept.has(other) && (item.mode !== "purge" || other.mode === "purge")
  const everything = items.get(keyOf("everything", "*"))
  if (isOuter(everything)) return everything
  // A receiver of our webhook takes the namespace by its name, with all that was published in it.
  const [inner] = item.kind === "namespace" ? [item.value] : item.namespaces
  for (const name of inner === undefined ? [] : [inner, ...ancestors(inner)]) {
    const whole = items.get(keyOf("namespace", name))
    if (isOuter(whole) && (item.kind === "namespace" || isAllWithin(item, name))) return whole
  }
  if (item.kind === "host") {
    const everyPort = items.get(keyOf("host", item.value.replace(/:\d+$/, "")))
    return isOuter(everyPort) ? everyPort : undefined
  }
  if (item.kind !== "url" && item.kind !== "prefix") return undefined
  const { origin, hostname, port, path } = partsOf(item.value)
  for (const host of [hostname, `${hostname}:${port}`]) {
    const covering = items.get(keyOf("host", host))
    if (isOuter(covering)) return covering
  }
  return prefixes.find(origin, path, isOuter)
}

function isAllWithin({ namespaces }: Draft, outer: string): boolean {
  for (const name of namespaces) if (!isWithin(name, outer)) return false
  return true
}

/**
 * The parts of an address as publishing writes it: `https://www.example.com:8443/blog/?page=2`. Not by a parser, which a
 * backlog would spend most of its time in, and which throws at what is none.
 */
function partsOf(url: string) {
  const [, origin = "", scheme, hostname = "", written, path = ""] =
    /^((https?):\/\/(\[[^\]]*\]|[^/:?#]*)(?::(\d+))?)([^?#]*)/.exec(url) ?? []
  return { origin, hostname, port: written ?? (scheme === "https" ? "443" : "80"), path }
}

interface Branch {
  /** `…/blog` and `…/blog/`, which say the same, and those of other modes. */
  readonly here: Draft[]
  readonly below: Map<string, Branch>
}

function branchAt(branches: Map<string, Branch>, name: string): Branch {
  const found = branches.get(name) ?? { here: [], below: new Map<string, Branch>() }
  branches.set(name, found)
  return found
}

/** Prefixes by the segments of their paths: what covers an address is found along its own, at no more than its length. */
class Prefixes {
  readonly #origins = new Map<string, Branch>()

  add(prefix: Draft): void {
    const { origin, path } = partsOf(prefix.value)
    let at = branchAt(this.#origins, origin)
    for (const segment of segmentsOf(path)) at = branchAt(at.below, segment)
    at.here.push(prefix)
  }

  /** The widest of those that cover a path, and of which `isOuter` holds. */
  find(origin: string, path: string, isOuter: (prefix: Draft) => boolean): Draft | undefined {
    let at = this.#origins.get(origin)
    for (const segment of at ? segmentsOf(path) : []) {
      const found = at?.here.find(isOuter)
      if (found) return found
      at = at?.below.get(segment)
      if (!at) return undefined
    }
    return at?.here.find(isOuter)
  }
}

/** One after the other, as most paths leave the tree at their first. A slash at the end says nothing. */
function* segmentsOf(path: string): Generator<string> {
  const end = path.endsWith("/") ? path.length - 1 : path.length
  for (let from = 1; from <= end;) {
    const slash = path.indexOf("/", from)
    const to = slash < 0 || slash > end ? end : slash
    yield path.slice(from, to)
    from = to + 1
  }
}
