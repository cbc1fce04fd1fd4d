import type { Epoch } from "../protocol/epoch.ts"
import { askedTags } from "../protocol/freshness.ts"
import type { Lookup, LookupRequest } from "../protocol/lookup.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { checkTag, URL_TAG } from "../protocol/selector.ts"
import type { Milliseconds } from "../protocol/time.ts"
import { MAX_NAMESPACES, MAX_SELECTORS } from "./store.ts"

/** What one request to the store asks; tags and urls as `askedTags` gives them. */
export interface Chunk {
  readonly wanted: ReadonlyMap<Namespace, readonly string[]>
  /** Namespaces in use that are asked along, so that all that a reader holds was read at one point of the log. */
  readonly along: readonly Namespace[]
}

/** Cuts what is wanted to what one request may carry, and fills each up with namespaces in use, the first first. */
export function chunksOf(
  wanted: ReadonlyMap<Namespace, readonly string[]>,
  inUse: readonly Namespace[],
): readonly Chunk[] {
  const parts: Map<Namespace, readonly string[]>[] = []
  let room = 0
  for (const [namespace, tags] of wanted) {
    let left = tags
    do {
      let part = parts.at(-1)
      if (!part || part.size === MAX_NAMESPACES || (room === 0 && left.length > 0)) {
        part = new Map()
        parts.push(part)
        room = MAX_SELECTORS
      }
      part.set(namespace, left.slice(0, room))
      const taken = Math.min(room, left.length)
      room -= taken
      left = left.slice(taken)
    } while (left.length > 0)
  }
  const others = inUse.filter((namespace) => !wanted.has(namespace))
  return parts.map((part) => ({ wanted: part, along: others.slice(0, MAX_NAMESPACES - part.size) }))
}

export function requestOf({ wanted, along }: Chunk): LookupRequest {
  return new Map(
    [...wanted, ...along.map((name) => [name, []] as const)].map(([name, members]) => [name, split(members)]),
  )
}

const split = (members: readonly string[]) => ({
  tags: members.filter((member) => !member.startsWith(URL_TAG)),
  urls: members.filter((member) => member.startsWith(URL_TAG)).map((member) => member.slice(URL_TAG.length)),
})

/**
 * An answer with everything in it that it says: a tag that was asked and is not listed counts as the floor, and the
 * store was not asked before we asked, whatever its clock says.
 */
export function complete(lookup: Lookup, asked: LookupRequest, askedAt: Milliseconds): Lookup {
  const namespaces = new Map(lookup.namespaces)
  for (const [namespace, told] of lookup.namespaces) {
    const unlisted = askedTags(asked.get(namespace) ?? {}).map((tag): [string, Epoch] => [tag, told.floor])
    namespaces.set(namespace, { ...told, tags: new Map([...unlisted, ...told.tags]) })
  }
  return { ...lookup, namespaces, asOf: Math.min(lookup.asOf, askedAt) }
}

/** What cannot be published need not be asked, and would get the whole request refused. */
export const isAskable = (member: string): boolean =>
  member.startsWith(URL_TAG) || "value" in checkTag(member)
