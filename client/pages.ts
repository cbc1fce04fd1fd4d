import { type Epoch, formatStamp, parseStamp } from "../protocol/epoch.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { DAY, type Milliseconds, MINUTE, SECOND } from "../protocol/time.ts"
import type { WaitUntil } from "./epochs.ts"
import {
  dependsOn,
  entryOf,
  FOREVER,
  isStorable,
  keyUrl,
  servedHeaders,
  storedCopy,
  whyForwarded,
} from "./page.ts"
import { settles } from "./patience.ts"
import { SingleFlight } from "./single-flight.ts"
import type { Labeller } from "./tag-header.ts"
import type { Tidemark } from "./tidemark.ts"

/**
 * Pages under their stamps: what the plugs of frameworks that answer a request with a response have in common. Each
 * says what a request is about, and how its page is made.
 */

/** How long a request waits for another that is filling the same page; a Worker may have lost it. */
const FILL_PATIENCE: Milliseconds = 5 * SECOND

/** How long Workers let work run on after the response. What was not done by then never will be. */
const REVALIDATION_LIMIT: Milliseconds = 30 * SECOND

/** A page that another isolate is making is looked for after this, then after twice that, and so on. */
const FIRST_LOOK: Milliseconds = 50

/** Behind the key of a page: what stands in the cache while it is made. */
const CLAIM = "&claim"

/** Pages remembered as not to be stored, which others then do not wait for; of more, all are forgotten. */
const MAX_UNSTORABLE = 1_000

/** Said where nothing is known of the epochs. */
const UNKNOWN = "fwd=bypass; detail=epochs-unknown"

type OrPromise<T> = T | Promise<T>

/** As much of the Cache API as pages need. */
export type PageStore = Pick<Cache, "match" | "put" | "delete">

/**
 * - `tags-dropped` tags did not fit into the tag header: the cache in front cannot be purged by them
 * - `put-failed`   a page could not be stored
 */
export interface EpochCacheWarning {
  readonly code: "tags-dropped" | "put-failed"
  readonly dropped?: readonly string[]
  readonly cause?: unknown
}

/** `C` is what the framework tells of a request. */
export interface PagesOptions<C> {
  /** The reader of epochs; made once an isolate, not once a request. */
  readonly tidemark: Tidemark | ((c: C) => Tidemark)
  /** The namespace of the pages. */
  readonly namespace: Namespace | ((c: C) => Namespace)
  /** The tags of a page, known when it has been made. Its url is asked by itself. Default: none. */
  readonly tags?: (c: C, response: Response) => OrPromise<readonly string[]>
  /**
   * How long after a soft invalidation, in milliseconds, the old page may still be served while it is revalidated.
   * Default 60,000. 0: never. After a hard one it never is.
   */
  readonly swr?: Milliseconds
  /**
   * Where pages are kept. Default `caches.default`, or `caches.open("tidemark")`, or where there is no Cache API,
   * `memoryPages()`.
   */
  readonly cache?: PageStore
  /** How long the cache keeps a page at most, in milliseconds. Default 30 days, as `maxCacheTtl` in the configuration. */
  readonly maxCacheTtl?: Milliseconds
  /**
   * Labels responses for the cache in front, so that it can be purged by their tags: `labelsFor(cloudflare)` of
   * `tidemark/tags`. Default: none, which is right where no cache is in front.
   */
  readonly labels?: Labeller
  /** The url that the page is published under. Default: the request's. */
  readonly url?: (c: C) => string
  /**
   * What the page is kept under. Default: its url. Several urls may share a key, as where parameters are left out;
   * a key that is a url is then asked as well, so let it be the one that is published.
   */
  readonly key?: (c: C) => OrPromise<string>
  /**
   * Names of request headers that pages differ by, put into the key. A response whose `Vary` names any other but
   * `Accept-Encoding` is not kept. Default: none.
   */
  readonly vary?: readonly string[]
  /** Reads one's own write: see `ReadOptions`. */
  readonly fresh?: (c: C) => { readonly atLeast: Epoch } | undefined
  /** Called when something is not as it should be. Default: nobody is told. */
  readonly onWarning?: (warning: EpochCacheWarning, c: C) => void
}

/** What a framework made for a request. */
export interface Made {
  /** Its headers can be set. */
  readonly response: Response
  /** False for an error's page, and for one that had to ask to be kept and did not. Default: true. */
  readonly mayBeKept?: boolean
  /** What it said that it shows, beside `tags` of the options. Default: nothing. */
  readonly tags?: readonly string[]
  /** After this it is stale, though nothing invalidated it, in milliseconds. Default: never. */
  readonly maxAge?: Milliseconds
  /** How long it is kept, in milliseconds; `maxCacheTtl` at most, which is the default. */
  readonly keep?: Milliseconds
}

/** One request, as its framework hands it over. */
export interface Turn<C> {
  readonly context: C
  readonly request: Request
  /** Makes the page. */
  readonly make: () => Promise<Made>
  /**
   * Makes the page once more, with nobody waiting, by a turn of its own whose `isRevalidation` is set. False where there
   * is no way to: a request for a stale page then waits for the new one. Default: a turn like this one.
   */
  readonly revalidate?: ((request: Request) => Promise<Response>) | false
  /** This is to fill, and not to be answered from the cache. */
  readonly isRevalidation?: boolean | undefined
  readonly waitUntil?: WaitUntil | undefined
  /** Answers with what the cache had. Default: a plain `Response`. */
  readonly respond?: (body: ReadableStream | null, headers: Record<string, string>) => Response
}

/**
 * Answers turns: from the cache where a stamp allows it, and else with the page that is made, which is then kept.
 *
 * It is a shared cache: a page that is one visitor's own must say so (`Cache-Control: private`, `Set-Cookie`, `Vary`)
 * or not pass here. What is kept is judged by its stamp alone: `max-age` and the like are for the caches in front.
 *
 * What happened is told in `Cache-Status` (RFC 9211): `hit`; `hit; detail=stale-while-revalidate`; `fwd=uri-miss`,
 * `fwd=stale` and, where nothing was known of the epochs, `fwd=bypass; detail=epochs-unknown`.
 *
 * @returns the very response that was made, or another where the cache had one
 */
export function createPages<C>(options: PagesOptions<C>): (turn: Turn<C>) => Promise<Response> {
  const { swr = MINUTE, maxCacheTtl = 30 * DAY, onWarning, labels } = options
  const varied = (options.vary ?? []).map((name) => name.toLowerCase())
  const fills = new SingleFlight(FILL_PATIENCE)
  const revalidations = new SingleFlight(REVALIDATION_LIMIT)
  const unstorable = new Set<string>()
  let { cache: opened } = options

  return async function serve(turn) {
    const {
      context,
      request,
      make,
      revalidate = (again) => serve({ ...turn, request: again, isRevalidation: true }),
      isRevalidation,
      waitUntil = () => undefined,
      respond = (body, headers) => new Response(body, { headers }),
    } = turn
    const forwarded = whyForwarded(request)
    if (forwarded) {
      const made = await make()
      if (/^(?:GET|HEAD)$/.test(request.method)) await label(made)
      return tell(made.response, `fwd=${forwarded}`)
    }
    const cache = (opened ??= await openCache())
    const namespace = valueOf(options.namespace, context)
    const tidemark = valueOf(options.tidemark, context)
    const url = options.url?.(context) ?? request.url
    const own = (await options.key?.(context)) ?? url
    const urls = [...new Set([url, own])]
    const key = keyUrl(
      namespace,
      own,
      varied.map((name) => [name, request.headers.get(name)]),
    )
    const claim = key + CLAIM
    const read = { waitUntil: turn.waitUntil, fresh: options.fresh?.(context) }
    /** Why the page has to be made, where it has. */
    let why = "fwd=stale"

    /** Answers with the copy that the cache has, and sets off its revalidation where it is stale; else tells why not. */
    async function find(isCollapsed?: boolean): Promise<Response | undefined> {
      const entry = await quietly(async () => entryOf(await cache.match(key)))
      if (!entry) {
        why = "fwd=uri-miss"
        return undefined
      }
      const { copy, stamp, depends, until, headers } = entry
      const judgement = await tidemark.judge(parseStamp(stamp), namespace, dependsOn(depends, urls), read)
      const { verdict } = judgement
      const isFresh = verdict === "fresh" && Date.now() < until
      const isUsable = verdict === "fresh" || (verdict === "stale" && judgement.staleFor < swr)
      if (isFresh || (revalidate && isUsable)) {
        if (!isFresh) refresh()
        const hit = respond(copy.body, servedHeaders(copy, isFresh ? headers : undefined))
        const how = isCollapsed ? `${why}; collapsed` : "hit"
        return tell(hit, isFresh ? how : `${how}; detail=stale-while-revalidate`)
      }
      discard(copy)
      why =
        verdict === "unknown" ? UNKNOWN : `fwd=stale; detail=${verdict === "dead" ? "purged" : "invalidated"}`
      return undefined
    }

    /** Has the page made once more, whoever else asks for it meanwhile. */
    function refresh(): void {
      if (!revalidate || revalidations.running(key)) return
      const { end } = revalidations.start(key)
      // Without the visitor's signal: the page is still wanted when they have left.
      const copy = new Request(request, { signal: null })
      // And without conditions: by those less than the page would do.
      for (const [name] of request.headers) if (name.startsWith("if-")) copy.headers.delete(name)
      const run = async () => {
        if (await isClaimed()) return
        discard(await revalidate(copy))
        // Only when it is stored is the next visitor served the new one.
        await fills.running(key)
      }
      // Where it fails, the old page stays until `swr` has passed; the next visit tries again.
      waitUntil(quietly(run).finally(end))
    }

    /** Makes the page, and keeps it under a stamp from before. */
    async function fill(): Promise<Response> {
      const { done, end } = fills.start(key)
      // Others may be waiting for this: it goes on though the visitor leaves.
      waitUntil(done)
      let stored: Promise<void> | undefined
      try {
        const isShared = isWorthWaiting()
        if (isShared && !isRevalidation) {
          const found = await madeElsewhere()
          if (found) return found
        }
        if (isShared) waitUntil(quietly(() => claimUntil(done)))
        const { stamp } = await tidemark.begin(namespace, read)
        if (!stamp) end()
        const made = await make()
        const { response, mayBeKept = true, maxAge = FOREVER, keep = FOREVER } = made
        const tags = await label(made)
        if (!mayBeKept || !isStorable(response, varied)) {
          if (unstorable.add(key).size > MAX_UNSTORABLE) unstorable.clear()
          if (why.startsWith("fwd=stale") && response.status < 500)
            waitUntil(quietly(() => cache.delete(key)))
          return tell(response, why)
        }
        unstorable.delete(key)
        if (!stamp) return tell(response, UNKNOWN)
        const entry = { stamp: formatStamp(stamp), depends: { tags, urls }, until: Date.now() + maxAge }
        stored = cache
          .put(key, storedCopy(response.clone(), entry, Math.min(keep, maxCacheTtl)))
          .catch((cause: unknown) => onWarning?.({ code: "put-failed", cause }, context))
        waitUntil(stored.finally(end))
        return tell(response, `${why}; stored`)
      } finally {
        if (!stored) end()
      }
    }

    /**
     * Tells the other isolates over the same cache that the page is being made. Not atomic: two that begin in the same
     * instant both make it.
     */
    async function claimUntil(done: Promise<void>): Promise<void> {
      // As long as others wait.
      await cache.put(claim, new Response("", { headers: { "cache-control": "max-age=5" } }))
      await done
      await cache.delete(claim)
    }

    const isClaimed = () => quietly(() => cache.match(claim))

    /** The page that another isolate is making, when it is there; undefined where none is, or it takes too long. */
    async function madeElsewhere(): Promise<Response | undefined> {
      for (let wait = FIRST_LOOK; wait < FILL_PATIENCE && (await isClaimed()); wait *= 2) {
        await new Promise((resolve) => setTimeout(resolve, wait))
        const found = await find(true)
        if (found) return found
      }
      return undefined
    }

    /** Whether it is worth to wait for others that make the same page, and to have others wait. */
    function isWorthWaiting(): boolean {
      return why !== UNKNOWN && !unstorable.has(key)
    }

    /** Labels what was made for the cache in front, and tells its tags. */
    async function label({ response, tags = [] }: Made): Promise<readonly string[]> {
      const all = [...((await options.tags?.(context, response)) ?? []), ...tags]
      const dropped = labels?.(response.headers, valueOf(options.namespace, context), all) ?? []
      if (dropped.length > 0) onWarning?.({ code: "tags-dropped", dropped }, context)
      return all
    }

    if (isRevalidation) return fill()
    // Asked for before as well: it may end, and have stored the page, after the cache was looked at.
    const before = fills.running(key)
    let found = await find()
    const running = fills.running(key) ?? before
    if (!found && running && isWorthWaiting() && (await settles(running, FILL_PATIENCE)))
      found = await find(true)
    return found ?? fill()
  }
}

/** An option that may differ from request to request. */
const valueOf = <C, V extends Tidemark | Namespace>(option: V | ((c: C) => V), c: C): V =>
  typeof option === "function" ? option(c) : option

function tell(response: Response, how: string): Response {
  response.headers.append("cache-status", `tidemark; ${how}`)
  return response
}

/** The runtime's own cache: Workers have a default one, some have to open it, and others have none. */
async function openCache(): Promise<PageStore> {
  if (typeof caches === "undefined") return (await import("./memory-pages.ts")).memoryPages()
  return (caches as CacheStorage & { readonly default?: Cache }).default ?? caches.open("tidemark")
}

/** An unread body keeps its memory. Not waited for: a branch of a body only ends when the other one does. */
function discard({ body }: Response): void {
  void quietly(async () => body?.cancel())
}

/** A cache that fails has nothing; and a copy that could not be removed is still judged by its stamp. */
async function quietly<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work()
  } catch {
    return undefined
  }
}
