import type { Epoch } from "../protocol/epoch.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { DAY, type Milliseconds, MINUTE, SECOND } from "../protocol/time.ts"
import type { WaitUntil } from "./epochs.ts"
import { dependsOn, entryOf, isStorable, keyUrl, servedHeaders, storedCopy, whyForwarded } from "./page.ts"
import { settles } from "./patience.ts"
import { SingleFlight } from "./single-flight.ts"
import type { Labeller } from "./tag-header.ts"
import type { ReadOptions, Tidemark } from "./tidemark.ts"

/**
 * Pages under their stamps: what the plugs of frameworks that answer a request with a response have in common. Each
 * says what a request is about, and how its page is made.
 */

/** How long a request waits for another that is filling the same page; a Worker may have lost it. */
const FILL_PATIENCE: Milliseconds = 5 * SECOND

/** How long Workers let work run on after the response. What was not done by then never will be. */
const REVALIDATION_LIMIT: Milliseconds = 30 * SECOND

/** Pages remembered as not to be stored, which others then do not wait for. */
const MAX_UNSTORABLE = 1_000

/** Headers of a request that ask for less than the page, or for it only if it changed. */
const CONDITIONS = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"]

/** Why a copy could not be served, by what was judged of it. */
const REASONS = { fresh: "expired", stale: "invalidated", dead: "purged" } as const

type OrPromise<T> = T | Promise<T>

/** As much of the Cache API as pages need. */
export type PageStore = Pick<Cache, "match" | "put" | "delete">

/**
 * - `no-cache-api` the runtime has no Cache API: every request goes through
 * - `tags-dropped` tags did not fit into the tag header: the cache in front cannot be purged by them
 * - `put-failed`   a page could not be stored
 */
export interface EpochCacheWarning {
  readonly code: "no-cache-api" | "tags-dropped" | "put-failed"
  readonly message: string
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
  /** Where pages are kept. Default `caches.default`, or where there is none, `caches.open("tidemark")`. */
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
  /** Called when something is not as it should be; `no-cache-api` once. Default: nobody is told. */
  readonly onWarning?: (warning: EpochCacheWarning) => void
}

/** One request, as its framework hands it over. */
export interface Turn<C> {
  readonly context: C
  readonly request: Request
  /** Makes the page. Its headers can be set. */
  readonly make: () => Promise<Response>
  /** Whether what was made is an error's page, and not to be kept. Default: it is not. */
  readonly failed?: () => boolean
  /**
   * Makes the page once more, with nobody waiting, by a turn of its own whose `isRevalidation` is set. Where there is
   * no such way, a request for a stale page waits for the new one.
   */
  readonly revalidate?: ((request: Request) => Promise<unknown>) | undefined
  /**
   * How long the page is served as fresh, and after that while it is made once more, where a framework lets pages say
   * so; in milliseconds, known when it was made. Default: for as long as its stamp allows.
   */
  readonly lifetime?: () => { readonly fresh: Milliseconds; readonly stale: Milliseconds } | undefined
  /** This is to fill, and not to be answered from the cache. */
  readonly isRevalidation?: boolean
  readonly waitUntil?: WaitUntil | undefined
  /** Answers with what the cache had. Default: a plain `Response`. */
  readonly respond?: (
    body: ReadableStream | null,
    status: number,
    headers: Record<string, string>,
  ) => Response
}

/** What one request is about. */
interface Visit {
  readonly tidemark: Tidemark
  readonly namespace: Namespace
  readonly cache: PageStore
  readonly key: string
  readonly urls: readonly string[]
  readonly read: ReadOptions
  readonly waitUntil: WaitUntil
}

/** What the cache has for a visit: a copy and its headers, or why the page has to be made. */
type Found =
  | { readonly copy: Response; readonly headers: Record<string, string>; readonly how: string }
  | { readonly copy?: undefined; readonly how: string; readonly hadCopy: boolean }

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
  const {
    swr = MINUTE,
    maxCacheTtl = 30 * DAY,
    onWarning = () => undefined,
    vary = [],
    tidemark,
    namespace,
  } = options
  const varied = new Set(vary.map((name) => name.toLowerCase()))
  const fills = new SingleFlight(FILL_PATIENCE)
  const revalidations = new SingleFlight(REVALIDATION_LIMIT)
  const unstorable = new Set<string>()
  let warnedOfNoCache = false

  const namespaceOf = (c: C) => (typeof namespace === "function" ? namespace(c) : namespace)

  async function visitOf({ context: c, request, waitUntil }: Turn<C>, cache: PageStore): Promise<Visit> {
    const own = namespaceOf(c)
    const url = options.url?.(c) ?? request.url
    const key = (await options.key?.(c)) ?? url
    const fresh = options.fresh?.(c)
    return {
      tidemark: typeof tidemark === "function" ? tidemark(c) : tidemark,
      namespace: own,
      cache,
      key: keyUrl(
        own,
        key,
        [...varied].map((name) => [name, request.headers.get(name) ?? ""]),
      ),
      urls: [...new Set([url, key])],
      read: { ...(waitUntil ? { waitUntil } : {}), ...(fresh ? { fresh } : {}) },
      waitUntil: waitUntil ?? (() => undefined),
    }
  }

  /** Looks for a copy that may be served, and sets off its revalidation where it is stale. */
  async function find({ request, revalidate }: Turn<C>, visit: Visit): Promise<Found> {
    const copy = await quietly(() => visit.cache.match(visit.key))
    const entry = copy && entryOf(copy)
    if (!copy || !entry) return { how: "fwd=uri-miss", hadCopy: false }
    const judgement = await visit.tidemark.judge(
      entry.stamp,
      visit.namespace,
      dependsOn(entry.depends, visit.urls),
      visit.read,
    )
    const serveStale = (again: NonNullable<Turn<C>["revalidate"]>): Found => {
      inBackground(request, again, visit)
      return {
        copy,
        headers: servedHeaders(copy, entry.headers, true),
        how: "hit; detail=stale-while-revalidate",
      }
    }
    switch (judgement.verdict) {
      case "fresh":
        if (Date.now() >= (entry.until ?? Infinity)) {
          if (revalidate) return serveStale(revalidate)
          break
        }
        return { copy, headers: servedHeaders(copy, entry.headers, false), how: "hit" }
      case "stale":
        if (!revalidate || judgement.staleFor > swr || swr === 0) break
        return serveStale(revalidate)
      case "dead":
        break
      case "unknown":
        discard(copy)
        return { how: "fwd=bypass; detail=epochs-unknown", hadCopy: false }
    }
    discard(copy)
    return { how: `fwd=stale; detail=${REASONS[judgement.verdict]}`, hadCopy: true }
  }

  /** Has a page made once more, whoever else asks for it meanwhile. */
  function inBackground(
    visited: Request,
    revalidate: NonNullable<Turn<C>["revalidate"]>,
    { key, waitUntil }: Visit,
  ): void {
    if (revalidations.running(key)) return
    const { end } = revalidations.start(key)
    // Without the visitor's signal: the page is still wanted when they have left.
    const request = new Request(visited, { signal: null })
    for (const name of CONDITIONS) request.headers.delete(name)
    const run = async () => {
      try {
        const response = await revalidate(request)
        if (response instanceof Response) discard(response)
        // Only when it is stored is the next visitor served the new one.
        await fills.running(key)
      } catch {
        // The old page stays until `swr` has passed; the next visit tries again.
      } finally {
        end()
      }
    }
    waitUntil(run())
  }

  /** Makes the page, and keeps it under a stamp from before. */
  async function fill(
    { context, make, failed, lifetime }: Turn<C>,
    visit: Visit,
    { how, hadCopy }: { how: string; hadCopy: boolean },
  ): Promise<Response> {
    const { cache, key, read, waitUntil } = visit
    const { done, end } = fills.start(key)
    // Others may be waiting for this: it goes on though the visitor leaves.
    waitUntil(done)
    let isBeingStored = false
    try {
      const { stamp } = await visit.tidemark.begin(visit.namespace, read)
      if (!stamp) end()
      const response = await make()
      const tags = await label(context, response)
      const isKept = !failed?.() && isStorable(response, varied)
      remember(unstorable, key, !isKept)
      if (!isKept && hadCopy && response.status < 500) waitUntil(quietly(() => cache.delete(key)))
      if (!isKept) return tell(response, how)
      if (!stamp) return tell(response, "fwd=bypass; detail=epochs-unknown")
      const said = lifetime?.()
      const copy = storedCopy(
        response.clone(),
        { stamp, depends: { tags, urls: visit.urls }, until: said && Date.now() + said.fresh },
        said ? Math.min(said.fresh + said.stale, maxCacheTtl) : maxCacheTtl,
      )
      isBeingStored = true
      const put = async () => {
        try {
          await cache.put(key, copy)
        } catch (cause) {
          onWarning({ code: "put-failed", message: "The page could not be stored.", cause })
        } finally {
          end()
        }
      }
      waitUntil(put())
      return tell(response, `${how}; stored`)
    } finally {
      if (!isBeingStored) end()
    }
  }

  /** Labels what was made for the cache in front, and tells its tags. */
  async function label(c: C, response: Response): Promise<readonly string[]> {
    const tags = (await options.tags?.(c, response)) ?? []
    if (!options.labels) return tags
    const { headers, separator, dropped } = options.labels(namespaceOf(c), tags)
    for (const [name, value] of Object.entries(headers)) {
      const present = response.headers.get(name)
      response.headers.set(name, present ? present + separator + value : value)
    }
    if (dropped.length > 0)
      onWarning({ code: "tags-dropped", message: "Tags did not fit into the tag header.", dropped })
    return tags
  }

  async function pass({ context, request, make }: Turn<C>, how: string): Promise<Response> {
    const response = await make()
    if (request.method === "GET" || request.method === "HEAD") await label(context, response)
    return tell(response, how)
  }

  return async function serve(turn) {
    const { request } = turn
    const forwarded = whyForwarded(request)
    if (forwarded) return pass(turn, `fwd=${forwarded}`)
    const cache = await findCache(options.cache)
    if (!cache) {
      if (!warnedOfNoCache)
        onWarning({ code: "no-cache-api", message: "This runtime has no Cache API: nothing is cached." })
      warnedOfNoCache = true
      return pass(turn, "fwd=bypass; detail=no-cache-api")
    }
    const visit = await visitOf(turn, cache)
    if (turn.isRevalidation)
      return fill(turn, visit, { how: "fwd=stale; detail=revalidation", hadCopy: true })
    let found = await find(turn, visit)
    let { how } = found
    if (!found.copy && !how.startsWith("fwd=bypass") && !unstorable.has(visit.key)) {
      const running = fills.running(visit.key)
      if (running && (await settles(running, FILL_PATIENCE))) {
        found = await find(turn, visit)
        if (found.copy) how = collapsed(how, found.how)
      }
    }
    if (!found.copy) return fill(turn, visit, found)
    const { copy, headers } = found
    const before = headers["cache-status"]
    headers["cache-status"] = `${before === undefined ? "" : `${before}, `}tidemark; ${how}`
    const { respond = (body, status) => new Response(body, { status, headers }) } = turn
    return respond(copy.body, copy.status, headers)
  }
}

function tell(response: Response, how: string): Response {
  response.headers.append("cache-status", `tidemark; ${how}`)
  return response
}

/** What is told of a page that was waited for: why, and where it is stale by then, that it is. */
const collapsed = (how: string, found: string): string =>
  found === "hit" ? `${how}; collapsed` : `${how.split("; ", 1)[0]}; collapsed${found.slice("hit".length)}`

/** The runtime's own cache: Workers have a default one, others have to open it. */
async function findCache(given: PageStore | undefined): Promise<PageStore | undefined> {
  if (given || typeof caches === "undefined") return given
  const own = caches as CacheStorage & { readonly default?: Cache }
  return own.default ?? (await own.open("tidemark"))
}

function remember(set: Set<string>, key: string, isIn: boolean): void {
  set.delete(key)
  if (isIn) set.add(key)
  const [oldest] = set
  if (set.size > MAX_UNSTORABLE && oldest !== undefined) set.delete(oldest)
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
