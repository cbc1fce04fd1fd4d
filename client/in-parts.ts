import type { Epoch } from "../protocol/epoch.ts"
import type { NamespaceEpochs } from "../protocol/freshness.ts"
import type { Asked, Lookup, LookupRequest } from "../protocol/lookup.ts"
import { isNamespace, type Namespace } from "../protocol/namespace.ts"
import { isTag } from "../protocol/selector.ts"
import { type EpochStore, StoreRefusal } from "./epoch-store.ts"

/** A namespace that was refused, and why. */
type Refused = readonly [Namespace, StoreRefusal]

/** What one request may carry. */
export interface Limits {
  readonly namespaces: number
  /** Tags and urls together. */
  readonly selectors: number
}

/**
 * Looks up by as many requests as it takes, all at once: what a store takes no more of goes into the next one, and a
 * namespace that it refuses keeps no other from being answered. What is no namespace is refused without being asked;
 * what is no tag, which nobody can invalidate, is left out: the store would refuse the whole request.
 *
 * @throws {StoreRefusal} when every namespace was refused, with the first one's words
 */
export function inParts(
  ask: (request: LookupRequest, after?: Epoch) => Promise<Lookup>,
  limits: Limits = { namespaces: Infinity, selectors: Infinity },
): EpochStore["lookup"] {
  async function askPart(part: LookupRequest, after: Epoch | undefined): Promise<(Lookup | Refused)[]> {
    try {
      return [await ask(part, after)]
    } catch (error) {
      if (!(error instanceof StoreRefusal)) throw error
      if (part.size <= 1) return Array.from(part.keys(), (namespace) => [namespace, error] as const)
      return (await Promise.all(Array.from(part, (one) => askPart(new Map([one]), after)))).flat()
    }
  }
  return async (request, after) => {
    const parts = partsOf(request, limits)
    const outcomes = (await Promise.all(parts.map((part) => askPart(part, after)))).flat()
    const answers = outcomes.filter((outcome): outcome is Lookup => !isRefused(outcome))
    const refused = new Map<Namespace, StoreRefusal>([
      ...[...request.keys()]
        .filter((name) => !isNamespace(name))
        .map((name) => [name, NO_NAMESPACE] as const),
      ...outcomes.filter(isRefused),
    ])
    const [first, ...others] = answers.toSorted((one, other) => one.last - other.last)
    if (first) {
      const answer = others.reduce(joined, first)
      return refused.size > 0 ? { ...answer, refused } : answer
    }
    const [{ status, message } = NO_NAMESPACE] = refused.values()
    throw new StoreRefusal(status, message, refused)
  }
}

const NO_NAMESPACE = new StoreRefusal(400, "that is no namespace")

const isRefused = (outcome: Lookup | Refused): outcome is Refused => Array.isArray(outcome)

function partsOf(request: LookupRequest, { namespaces, selectors }: Limits): Map<Namespace, Asked>[] {
  const parts: Map<Namespace, Asked>[] = []
  let room = 0
  for (const [namespace, asked] of request) {
    if (!isNamespace(namespace)) continue
    let tags = asked.tags.filter(isTag)
    let { urls } = asked
    do {
      let part = parts.at(-1)
      if (!part || part.size >= namespaces || (room === 0 && tags.length + urls.length > 0)) {
        part = new Map()
        parts.push(part)
        room = selectors
      }
      const now = { tags: tags.slice(0, room), urls: urls.slice(0, Math.max(0, room - tags.length)) }
      part.set(namespace, now)
      room -= now.tags.length + now.urls.length
      tags = tags.slice(now.tags.length)
      urls = urls.slice(now.urls.length)
    } while (tags.length + urls.length > 0)
  }
  return parts
}

/**
 * Two answers as one that tells no more of the log than the first, which tells less. Of a namespace that both tell, the
 * tags of the second were read later than the row of the first, and so hide nothing; but one may have been dropped by
 * then, and counts as the floor that this raised.
 */
function joined(first: Lookup, second: Lookup): Lookup {
  if (first.generation !== second.generation || first.tenant !== second.tenant)
    throw new Error("the look-up was answered of two logs")
  const namespaces = new Map<Namespace, NamespaceEpochs>(second.namespaces)
  const changed = new Map(second.changed)
  for (const [namespace, row] of first.namespaces) {
    const other = namespaces.get(namespace)
    const floor = Math.max(row.floor, other?.floor ?? 0)
    namespaces.set(namespace, { ...row, floor, tags: new Map([...row.tags, ...(other?.tags ?? [])]) })
    const own = first.changed?.get(namespace) ?? null
    const others = changed.get(namespace)
    changed.set(namespace, own && others !== null ? new Map([...own, ...(others ?? [])]) : null)
  }
  return { ...first, asOf: Math.min(first.asOf, second.asOf), namespaces, changed }
}
