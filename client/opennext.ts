import { epochToMs, formatStamp, parseStamp, type Stamp } from "../protocol/epoch.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { type Milliseconds, MINUTE } from "../protocol/time.ts"
import { BoundedCalls } from "./bounded-storage.ts"
import type { WaitUntil } from "./epochs.ts"
import { DEFAULT_TIMEOUT } from "./guard.ts"
import { settles } from "./patience.ts"
import { publicationsOf, publishEach } from "./publications.ts"
import type { Judgement, ReadOptions, Tidemark } from "./tidemark.ts"

/** `tidemark/opennext`: caches of OpenNext, on Cloudflare and on AWS, whose entries carry their stamps. */

/** Where Next.js puts the tags of a page. */
const PAGE_TAGS = "x-next-cache-tags"

/** Before this, in the milliseconds that Next.js compares, everything was made. */
const ALL_OF_THEM: Milliseconds = Number.MAX_SAFE_INTEGER

export interface OpenNextOptions {
  /** The reader of epochs, or what makes it when it is first used: bindings are there only within a request. */
  readonly tidemark: Tidemark | (() => Tidemark)
  /**
   * The namespace of the site's pages and data; or of each tag, where the site has several. It is then also called with
   * `_N_T_/<path>`, which is how Next.js tags a path, and with `""` for what has no tag.
   */
  readonly namespace: Namespace | ((tag: string) => Namespace)
  /**
   * Where the site is served, such as `https://www.example.com`, with a `basePath` behind it: pages are invalidated by
   * their urls too. Several where it has several hosts.
   */
  readonly origin: string | readonly string[]
  /**
   * How long after a soft invalidation, in milliseconds, the old page may still be served while OpenNext's queue has it
   * made anew. Default 60,000. 0: never. `revalidateTag` with an `expire` that is shorter is published as a purge.
   */
  readonly swr?: Milliseconds
  /**
   * How long, in milliseconds, a page waits for the incremental cache that you have: what is not found by then is made,
   * and what is not stored by then goes on being stored. Default 2,000; 0 is refused.
   */
  readonly storageTimeout?: Milliseconds
  /** Called when the incremental cache fails, or does not answer; once an outage. Default: nobody is told. */
  readonly onError?: (error: unknown) => void
}

/** As much of OpenNext's `IncrementalCache` as is needed. */
export interface IncrementalCacheLike {
  readonly name: string
  get(key: string, cacheType?: never): Promise<unknown>
  set(key: string, value: never, cacheType?: never): Promise<void>
  delete(key: string): Promise<void>
}

/** What `revalidateTag` asks for: hard as a text alone, or where it expires at once. Times are of this host's clock. */
export type TagWrite =
  | string
  | { readonly tag: string; readonly stale?: Milliseconds; readonly expire?: Milliseconds }

/** OpenNext's `NextModeTagCache`. */
export interface TagCache {
  readonly name: string
  readonly mode: "nextMode"
  getLastRevalidated(tags: readonly string[]): Promise<Milliseconds>
  hasBeenRevalidated(tags: readonly string[], lastModified?: Milliseconds): Promise<boolean>
  isStale(tags: readonly string[], lastModified?: Milliseconds): Promise<boolean>
  /** @throws as `Tidemark.invalidate` does, when some were not recorded */
  writeTags(tags: readonly TagWrite[]): Promise<void>
}

/** As much of OpenNext's description of a path as is needed. */
export interface CdnPath {
  readonly initialPath: string
  readonly rawPath: string
  readonly resolvedRoutes: readonly { readonly type: string }[]
}

/** OpenNext's `CDNInvalidationHandler`. */
export interface CdnInvalidation {
  readonly name: string
  /** @throws as `Tidemark.purge` does, when it was not recorded */
  invalidatePaths(paths: readonly CdnPath[]): Promise<void>
}

export interface OpenNextCaches {
  /**
   * Puts stamps on the entries of another incremental cache, and hands out none that was invalidated since. It belongs
   * outermost, around a regional cache too. What is stored without a stamp, as by the build, is made once more.
   */
  incrementalCache<Inner extends IncrementalCacheLike>(inner: Inner): Inner
  /**
   * Judges entries by the stamps that `incrementalCache` found with them, and publishes what is revalidated. Where
   * `incrementalCache` is not used at all there are no stamps, and it goes by the times of writing as OpenNext's own
   * tag caches do: a page that was read before an invalidation and written after it is then served.
   */
  readonly tagCache: TagCache
  /** Has targets purge the pages that `res.revalidate()` made anew, and in the Pages Router their data too. */
  readonly cdnInvalidation: CdnInvalidation
}

type Standing = "fresh" | "stale" | "gone"

const WORST = ["gone", "stale", "fresh"] as const

/** An entry that a request was handed. */
interface Handed {
  readonly stamp: Stamp
  readonly urls: readonly string[]
  /** Whether OpenNext would have it made anew if it were told that it is stale. */
  readonly mayBeStale: boolean
}

/** What is remembered of one request. */
interface Visit {
  /** From before anything was read for it: all that is made within it is stored under this. */
  readonly began: Promise<Stamp | undefined>
  /** By their `lastModified`, which is all that the tag cache is told of an entry. */
  readonly handed: Map<Milliseconds, Handed[]>
  /** Keys of the pages with tags that were handed out. */
  readonly tagged: Set<string>
  /** Tags of the path, by which Next.js has `use cache` judged, and which OpenNext does not pass on to `get`. */
  pathTags: readonly string[]
}

/** What the build or a request stored: pages, routes, redirects; fetched data; what `use cache` made. */
interface Value {
  /** The stamp. Never handed on. */
  readonly tidemark?: unknown
  readonly meta?: { readonly headers?: Readonly<Record<string, unknown>> }
  readonly data?: { readonly tags?: unknown }
  readonly tags?: unknown
}

interface Entry {
  readonly lastModified?: Milliseconds
  readonly value?: Value
}

interface RequestStore {
  readonly waitUntil?: WaitUntil
}

/** OpenNext's globals. */
interface OpenNextGlobals {
  readonly __openNextAls?: { getStore(): RequestStore | undefined }
  readonly nextVersion?: string
  readonly process?: { readonly env?: Readonly<Record<string, string | undefined>> }
}

const globals = globalThis as unknown as OpenNextGlobals

/**
 * Makes the caches of an `open-next.config.ts`. OpenNext prefixes what it stores by the build; epochs are per tag and
 * need no prefix, and an invalidation holds for the pages of every build.
 *
 * A soft-invalidated page is served while it is made anew by OpenNext's interceptor alone (`enableCacheInterception`).
 * The server behind it cannot be told reliably that a page is stale, and so makes it while the request waits; and what
 * pages are made of (`fetch`, `use cache`) is never taken stale.
 *
 * @throws {TypeError} when the origin is no absolute url
 * @throws {RangeError} when `storageTimeout` is out of range
 * @example
 *
 *     const caches = createOpenNextCaches({
 *       tidemark: () => createTidemark({ store: workerStore({ url, token: env.TIDEMARK_TOKEN }), waitUntil }),
 *       namespace: "site",
 *       origin: "https://www.example.com",
 *     })
 *     export default defineCloudflareConfig({
 *       incrementalCache: caches.incrementalCache(r2IncrementalCache),
 *       tagCache: caches.tagCache,
 *       cachePurge: caches.cdnInvalidation,
 *       enableCacheInterception: true,
 *     })
 */
export function createOpenNextCaches({
  tidemark,
  namespace,
  origin,
  swr = MINUTE,
  storageTimeout = DEFAULT_TIMEOUT,
  onError,
}: OpenNextOptions): OpenNextCaches {
  const bounded = new BoundedCalls(storageTimeout)
  const origins = [origin].flat().map((base) => new URL(base))
  const visits = new WeakMap<RequestStore, Visit>()
  let made: Tidemark | undefined
  let isFenced = false

  const reader = (): Tidemark => (made ??= typeof tidemark === "function" ? tidemark() : tidemark)
  const namespaceOf = (tag: string) => (typeof namespace === "string" ? namespace : namespace(tag))

  /** By namespace. One that has no tag still lies in a namespace. */
  function grouped(tags: readonly string[]): Map<Namespace, string[]> {
    const groups = new Map<Namespace, string[]>()
    for (const tag of tags) {
      const group = groups.get(namespaceOf(tag)) ?? []
      groups.set(namespaceOf(tag), [...group, tag])
    }
    return groups.size > 0 ? groups : new Map([[namespaceOf(""), []]])
  }

  /** Where nothing is known, or the reader cannot be made, there is no stamp. */
  async function begin(): Promise<Stamp | undefined> {
    try {
      return (await reader().begin(namespaceOf(""), readOptions())).stamp
    } catch {
      return undefined
    }
  }

  /** The request under way, once it has used the cache. */
  function findVisit(): Visit | undefined {
    const store = storeOf()
    return store && visits.get(store)
  }

  function visitOf(): Visit | undefined {
    const store = storeOf()
    const known = store && visits.get(store)
    if (!store || known) return known
    const visit = { began: begin(), handed: new Map(), tagged: new Set<string>(), pathTags: [] }
    visits.set(store, visit)
    return visit
  }

  function standingOf(judgement: Judgement): Standing {
    switch (judgement.verdict) {
      case "fresh":
        return "fresh"
      case "stale":
        return swr > 0 && judgement.staleFor <= swr ? "stale" : "gone"
      case "dead":
      case "unknown":
        return "gone"
    }
  }

  async function judge({ stamp, urls, mayBeStale }: Handed, tags: readonly string[]): Promise<Standing> {
    try {
      const judgements = Array.from(grouped(tags), ([own, members]) =>
        reader().judge(stamp, own, { tags: members, urls }, readOptions()),
      )
      const standing = worstOf((await Promise.all(judgements)).map(standingOf))
      return standing === "stale" && !mayBeStale ? "gone" : standing
    } catch {
      return "gone"
    }
  }

  const urlsOf = (key: string) =>
    pathsOf(key).flatMap((path) => origins.map((base) => base.href.replace(/\/$/, "") + path))

  /** What cannot be found in time is a miss. */
  async function find(read: () => Promise<unknown>): Promise<Entry | null | undefined> {
    try {
      return (await bounded.run("get", read)) as Entry | null | undefined
    } catch (error) {
      onError?.(error)
      return undefined
    }
  }

  /** Waits for what is written, as pages do for some of it, and no longer: it is then written with nobody waiting. */
  async function settleWrite(writing: Promise<void>): Promise<void> {
    if (await settles(writing, storageTimeout)) return writing
    storeOf()?.waitUntil?.(writing)
    writing.catch((error: unknown) => onError?.(error))
  }

  function incrementalCache<Inner extends IncrementalCacheLike>(inner: Inner): Inner {
    isFenced = true
    const cache: IncrementalCacheLike = {
      name: `tidemark-${inner.name}`,
      async get(key, cacheType) {
        const visit = visitOf()
        const reading = find(() => inner.get(key, cacheType))
        // Waited for in any case: on a miss the origin is read next.
        const [entry] = await Promise.all([reading, visit?.began])
        const value = entry?.value
        const stamp = parseStamp(textOf(value?.tidemark))
        const own = value && tagsOf(value)
        if (!visit || !own || !stamp) return null
        const isPage = cacheType === undefined || cacheType === "cache"
        const handed: Handed = {
          stamp,
          urls: isPage ? urlsOf(key) : [],
          // Only the interceptor asks without a type.
          mayBeStale: cacheType === undefined && own.length > 0 && knowsStale(),
        }
        const tags = isPage ? own : [...own, ...visit.pathTags]
        if ((await judge(handed, tags)) === "gone") return null
        const lastModified = entry.lastModified ?? Date.now()
        visit.handed.set(lastModified, [...(visit.handed.get(lastModified) ?? []), handed])
        if (isPage && own.length > 0) visit.tagged.add(key)
        // Without `shouldBypassTagCache`, by which a regional cache would have nobody told that a page is stale.
        return { lastModified, value: unmarked(value) }
      },
      async set(key, value: Value, cacheType) {
        const visit = findVisit()
        const stamp = await visit?.began
        // When a page cannot be made, Next.js puts the old one back; OpenNext has taken the tags off it by then.
        const isPutBack = visit?.tagged.has(key) === true && tagsOf(value)?.length === 0
        if (!stamp || isPutBack) return
        await settleWrite(inner.set(key, { ...value, tidemark: formatStamp(stamp) } as never, cacheType))
      },
      delete: (key) => settleWrite(inner.delete(key)),
    }
    return cache as Inner
  }

  /** What the tag cache was asked about. */
  async function findHanded(lastModified: Milliseconds): Promise<readonly Handed[]> {
    if (isFenced) return findVisit()?.handed.get(lastModified) ?? []
    const now = await begin()
    if (!now) return []
    const stamp = { generation: now.generation, epoch: Math.floor(lastModified * 1_000) }
    return [{ stamp, urls: [], mayBeStale: knowsStale() }]
  }

  async function standingNow(tags: readonly string[], lastModified = Date.now()): Promise<Standing> {
    const handed = await findHanded(lastModified)
    if (handed.length === 0) return "gone"
    return worstOf(await Promise.all(handed.map((one) => judge(one, tags))))
  }

  /** When anything at all was last invalidated: of single tags that is not told, only whether they were. */
  async function lastInvalidated(tags: readonly string[]): Promise<Milliseconds> {
    const keys = Array.from(grouped(tags).keys(), (own) => reader().key(own, readOptions()))
    const epochs = (await Promise.all(keys)).map((key) => parseStamp(key)?.epoch)
    return Math.max(...epochs.map((epoch) => (epoch === undefined ? ALL_OF_THEM : epochToMs(epoch))))
  }

  function modeOf(write: TagWrite): "invalidate" | "purge" {
    if (typeof write === "string") return "purge"
    const { stale, expire } = write
    if (expire === undefined) return stale === undefined ? "purge" : "invalidate"
    const grace = expire - (stale ?? Date.now())
    return grace > 0 && grace >= swr ? "invalidate" : "purge"
  }

  const tagCache: TagCache = {
    name: "tidemark-tag-cache",
    mode: "nextMode",
    async getLastRevalidated(tags) {
      try {
        if (!isFenced) return await lastInvalidated(tags)
        const visit = findVisit()
        if (!visit) return ALL_OF_THEM
        // Next.js asks once a request, after the first entry. That one is judged now, others when they are read.
        visit.pathTags = tags
        const handed = [...visit.handed.values()].flat()
        const standings = await Promise.all(handed.map((one) => judge(one, tags)))
        return worstOf(standings) === "fresh" ? 0 : ALL_OF_THEM
      } catch {
        return ALL_OF_THEM
      }
    },
    async hasBeenRevalidated(tags, lastModified) {
      return (await standingNow(tags, lastModified)) === "gone"
    },
    async isStale(tags, lastModified) {
      return (await standingNow(tags, lastModified)) !== "fresh"
    },
    async writeTags(writes) {
      const publications = (["purge", "invalidate"] as const).flatMap((mode) => {
        const tags = writes.flatMap((write) =>
          modeOf(write) === mode ? (typeof write === "string" ? write : write.tag) : [],
        )
        return tags.length === 0
          ? []
          : [...grouped(tags)].flatMap(([own, members]) =>
              publicationsOf(own, { tags: members }).map((what) => ({ mode, what })),
            )
      })
      await publishEach(publications, async ({ mode, what }) => reader()[mode](what))
    },
  }

  const cdnInvalidation: CdnInvalidation = {
    name: "tidemark-cdn-invalidation",
    async invalidatePaths(paths) {
      const urls = new Map<Namespace, Set<string>>()
      for (const { initialPath, rawPath, resolvedRoutes } of paths) {
        const own = namespaceOf(`_N_T_${rawPath}`)
        const group = urls.get(own) ?? new Set()
        urls.set(own, group)
        const shown = [initialPath, rawPath]
        const isPagesRouter = resolvedRoutes.some(({ type }) => type === "page")
        for (const path of isPagesRouter ? [...shown, ...shown.flatMap(dataPathsOf)] : shown)
          for (const base of origins) group.add(new URL(base.origin + path.replace(/^\/?/, "/")).href)
      }
      const publications = [...urls].flatMap(([own, group]) => publicationsOf(own, { urls: [...group] }))
      await publishEach(publications, async (what) => reader().purge(what))
    },
  }

  return { incrementalCache, tagCache, cdnInvalidation }
}

// oxlint-disable-next-line no-underscore-dangle -- OpenNext's name
const storeOf = (): RequestStore | undefined => globals.__openNextAls?.getStore()

/** What a look-up of the request under way may use. */
function readOptions(): ReadOptions {
  const waitUntil = storeOf()?.waitUntil
  return waitUntil ? { waitUntil } : {}
}

/** Before Next.js 16, OpenNext asks nobody whether an entry is stale. */
const knowsStale = (): boolean => Number.parseInt(globals.nextVersion ?? "", 10) >= 16

const worstOf = (standings: readonly Standing[]): Standing =>
  WORST.find((standing) => standings.includes(standing)) ?? "fresh"

const textOf = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined)

/** The tags that an entry was stored with; undefined where they cannot be read. */
function tagsOf({ meta, tags, data }: Value): readonly string[] | undefined {
  const pageTags = meta?.headers?.[PAGE_TAGS]
  const lists = [textOf(pageTags)?.split(",") ?? pageTags, tags, data?.tags].filter((list) => list != null)
  const all = lists.flat()
  return lists.every(Array.isArray) && all.every((tag) => typeof tag === "string") ? all : undefined
}

/** As it was set. With headers of its own, as OpenNext takes the tags off them: a cache in memory would lose them. */
function unmarked(value: Value): Value {
  const { tidemark: _, ...own } = value
  return own.meta?.headers ? { ...own, meta: { ...own.meta, headers: { ...own.meta.headers } } } : own
}

/** The paths that a page may have been published under, of the key that it is stored under. */
function pathsOf(key: string): readonly string[] {
  // Since Next.js 16.3.8 the key begins with the route that made the page; the start page is kept as `/index`.
  const path = key
    .replace(/^\/?route-cache\/[A-Z_]+\/[0-9a-f]{64}\/\$(?=\/)/, "")
    .replace(/^\/index(?=\/|$)/, "")
    .replace(/^\/?/, "/")
  return path === "/" ? [path] : [path, `${path}/`]
}

/** Where the Pages Router has the data of a page. */
function dataPathsOf(path: string): readonly string[] {
  const build = globals.process?.env?.["OPEN_NEXT_BUILD_ID"]
  return build ? [`/_next/data/${build}${path === "/" ? "/index" : path}.json`] : []
}
