import { formatStamp, parseStamp, type Stamp } from "../protocol/epoch.ts"
import { isNamespace, type Namespace } from "../protocol/namespace.ts"
import { isTag, writtenUrl } from "../protocol/selector.ts"

/** What the tags of Next.js mean to Tidemark. */

/** Before the paths of pages, which Next.js gives every entry that a page reads. */
export const PATH_TAG = "_N_T_"

/** Before names that Next.js keeps in an entry's tags for itself. Nobody invalidates them. */
const ROOT_PARAM_TAG = "_N_RP_"

/** How the `nextjs` target says a namespace as a whole. */
const NAMESPACE_TAG = "ns/"

/** Before the stamp of an old entry, among the tags that what is made from it inherits. */
const STAMP_TAG = "_tidemark_"

export interface TagOptions {
  /** The namespace of everything that this app keeps; of a tag, unless `namespaceOf` says otherwise. */
  readonly namespace: Namespace
  /**
   * The namespace that a tag belongs to, where it is another one. An entry with tags of several namespaces is fresh
   * while it is so in each. Default: none. Tags `ns/<name>` mean the namespace of that name by themselves.
   */
  readonly namespaceOf?: (tag: string) => Namespace | undefined
  /**
   * Where the app answers, such as `https://www.example.com`. With it a page's path is also its url: what is published
   * by url reaches the entries that the page at that url reads, and `revalidatePath` publishes the url as well, which
   * must then lie in the namespace's `hosts` or `prefixes`. Default: paths are tags only, `_N_T_/blog/hello`.
   */
  readonly site?: string
}

/** What is depended on, or published, in one namespace. */
export interface Group {
  readonly tags: string[]
  readonly urls: string[]
  /** One of the tags means the namespace as a whole, or cannot be said otherwise. */
  isWhole: boolean
}

/** The group of a namespace, which is new where it has none yet. */
export function groupOf(groups: Map<Namespace, Group>, namespace: Namespace): Group {
  const group = groups.get(namespace) ?? { tags: [], urls: [], isWhole: false }
  groups.set(namespace, group)
  return group
}

/** Tags as Tidemark says them, by the namespaces that they belong to. */
export function groupByNamespace(
  tags: readonly string[],
  { namespace, namespaceOf, site }: TagOptions,
): Map<Namespace, Group> {
  const groups = new Map<Namespace, Group>()
  for (const tag of new Set(tags)) {
    if (tag.startsWith(ROOT_PARAM_TAG)) continue
    const named = tag.startsWith(NAMESPACE_TAG) ? tag.slice(NAMESPACE_TAG.length) : ""
    const group = groupOf(groups, isNamespace(named) ? named : (namespaceOf?.(tag) ?? namespace))
    const spellings = spellingsOf(tag).filter((spelling) => isTag(spelling))
    group.tags.push(...spellings)
    if (spellings.length === 0) group.isWhole = true
    if (site === undefined || !tag.startsWith(`${PATH_TAG}/`)) continue
    // Longer than a url may be, it can be neither published nor invalidated by itself.
    const url = writtenUrl(site.replace(/\/+$/, "") + tag.slice(PATH_TAG.length))
    if (url !== undefined) group.urls.push(url)
  }
  return groups
}

/** Next percent-encodes what is not ASCII in a tag, and a target what a label cannot hold; nobody else does. */
function spellingsOf(tag: string): string[] {
  try {
    const plain = decodeURIComponent(tag)
    return plain === tag ? [tag] : [tag, plain]
  } catch {
    return [tag]
  }
}

/** A tag by which what is made from an entry of this stamp is known to be as old as that. */
export const stampTag = (stamp: Stamp): string => STAMP_TAG + formatStamp(stamp)

/** Tags without those of `stampTag`, and the stamps that these say. */
export function splitTags(all: readonly string[]): { readonly tags: string[]; readonly stamps: Stamp[] } {
  const tags = all.filter((tag) => !tag.startsWith(STAMP_TAG))
  const stamps = all.flatMap((tag) =>
    tag.startsWith(STAMP_TAG) ? (parseStamp(tag.slice(STAMP_TAG.length)) ?? []) : [],
  )
  return { tags, stamps }
}

/** The one that calls less fresh. Of another generation both are dead, and which one is given does not matter. */
export const older = (one: Stamp, other: Stamp): Stamp =>
  one.generation !== other.generation || one.epoch > other.epoch ? other : one
