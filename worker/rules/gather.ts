import { byteLength } from "../../protocol/bytes.ts"
import {
  compact,
  type Entity,
  type Invalidation,
  MAX_BODY_BYTES,
  MAX_SELECTORS,
  type Mode,
  SELECTOR_LISTS,
  type SelectorList,
} from "../../protocol/invalidation.ts"
import type { Namespace } from "../../protocol/namespace.ts"
import type { Milliseconds } from "../../protocol/time.ts"

/** What two invalidations must share to be one. */
export interface Likeness {
  readonly namespace: Namespace
  readonly mode: Mode
  readonly settle: Milliseconds | undefined
  readonly secondPass: Milliseconds | undefined
}

interface Group extends Likeness {
  /** The namespace as a whole stands in for what is listed. */
  whole: boolean
  readonly lists: Readonly<Record<SelectorList, Set<string>>>
  readonly entities: Map<string, Entity>
  /** Why it is wider or narrower than the rules say. */
  readonly notes: Set<string>
}

/** What a record keeps of the notes that concern it. */
const MAX_NOTES = 8
const MAX_NOTE = 240

/** A note holds names of the configuration and of the body: on one line, and not enough to fill a log. */
const clean = (note: string): string =>
  (note.length > MAX_NOTE ? `${note.slice(0, MAX_NOTE - 1)}…` : note)
    .replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, " ")
    .toWellFormed()

function kept(notes: ReadonlySet<string>): string[] | undefined {
  if (notes.size <= MAX_NOTES) return notes.size === 0 ? undefined : [...notes]
  return [...[...notes].slice(0, MAX_NOTES - 1), `and ${notes.size - MAX_NOTES + 1} more`]
}

const selectorsOf = (group: Group): string[] =>
  group.whole ? [] : SELECTOR_LISTS.flatMap((name) => [...group.lists[name]])

const bytesOf = (group: Group): number => selectorsOf(group).reduce((sum, text) => sum + byteLength(text), 0)

/** Collects what the rules say of one delivery: merges what is alike, and widens what grows too large. */
export class Gathering {
  readonly #groups = new Map<string, Group>()
  readonly #notes = new Set<string>()

  /** @param likeness of the invalidation whose record is to keep the note; none where it is for the answer alone */
  note(note: string, likeness?: Likeness): void {
    const cleaned = clean(note)
    this.#notes.add(cleaned)
    if (likeness) this.#group(likeness).notes.add(cleaned)
  }

  /** Whether the namespace is already named as a whole, so that nothing more need be said. */
  isWhole(likeness: Likeness): boolean {
    return this.#group(likeness).whole
  }

  /** @param why shown to whoever reads the answer; none where the rule itself says so */
  whole(likeness: Likeness, why?: string): void {
    this.#group(likeness).whole = true
    if (why !== undefined) this.note(`${why}: ${likeness.namespace} is invalidated as a whole`, likeness)
  }

  add(likeness: Likeness, list: SelectorList, values: readonly string[]): void {
    const { lists } = this.#group(likeness)
    for (const value of values) lists[list].add(value)
  }

  about(likeness: Likeness, entity: Entity): void {
    this.#group(likeness).entities.set(JSON.stringify(entity), entity)
  }

  /** An entity is told where the whole invalidation is about one. */
  result(): { invalidations: Invalidation[]; notes: string[] } {
    const groups = [...this.#groups.values()].filter((group) => group.whole || selectorsOf(group).length > 0)
    for (const group of groups.toSorted((a, b) => bytesOf(b) - bytesOf(a))) {
      const count = groups.reduce((sum, each) => sum + selectorsOf(each).length, 0)
      const bytes = groups.reduce((sum, each) => sum + bytesOf(each), 0)
      if (count <= MAX_SELECTORS && bytes <= MAX_BODY_BYTES) break
      this.whole(
        group,
        `the delivery names more than ${MAX_SELECTORS} selectors or ${MAX_BODY_BYTES / 1024} KiB of them`,
      )
    }
    const invalidations = groups.map((group) => {
      const { namespace, mode, settle, secondPass, whole, lists, entities, notes } = group
      const [entity] = entities.size === 1 ? entities.values() : []
      const listed = (name: SelectorList) => (whole ? [] : [...lists[name]])
      const selectors = {
        tags: listed("tags"),
        urls: listed("urls"),
        prefixes: listed("prefixes"),
        hosts: listed("hosts"),
      }
      return { namespace, mode, ...selectors, ...compact({ settle, secondPass, entity, notes: kept(notes) }) }
    })
    return { invalidations, notes: [...this.#notes] }
  }

  #group(likeness: Likeness): Group {
    const { namespace, mode, settle, secondPass } = likeness
    const key = JSON.stringify([namespace, mode, settle, secondPass])
    const known = this.#groups.get(key)
    if (known) return known
    const lists = {
      tags: new Set<string>(),
      urls: new Set<string>(),
      prefixes: new Set<string>(),
      hosts: new Set<string>(),
    }
    const group: Group = {
      namespace,
      mode,
      settle,
      secondPass,
      whole: false,
      lists,
      entities: new Map(),
      notes: new Set(),
    }
    this.#groups.set(key, group)
    return group
  }
}
