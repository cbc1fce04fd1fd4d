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

/** A page that another isolate is making is looked for after this, then after twice that, and so on. */
const FIRST_LOOK: Milliseconds = 50

/** Behind the key of a page: what stands in the cache while it is made. */
const CLAIM = "&claim"

/** Pages remembered as not to be stored, which others then do not wait for; of more, all are forgotten. */
const MAX_UNSTORABLE = 1_000

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
  /** How long the page is kept at most, in milliseconds, known when it was made. Default: `maxCacheTtl`. */
  readonly keepFor?: () => Milliseconds | undefined
  /** Whether a copy that its stamp allows is stale for another reason. Default: it never is. */
  readonly isExpired?: (copy: Response) => boolean
  /** This is to fill, and not to be answered from the cache. */
  readonly isRevalidation?: boolean | undefined
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
  const { swr = MINUTE, maxCacheTtl = 30 * DAY, onWarning, vary = [], tidemark, namespace } = options
  const varied = new Set(vary.map((name) => name.toLowerCase()))
  const fills = new SingleFlight(FILL_PATIENCE)
  const revalidations = new SingleFlight(REVALIDATION_LIMIT)
  const unstorable = new Set<string>()
  let { cache: opened } = options

  async function visitOf({ context: c, request, waitUntil }: Turn<C>, cache: PageStore): Promise<Visit> {
    const own = valueOf(namespace, c)
    const url = options.url?.(c) ?? request.url
    const key = (await options.key?.(c)) ?? url
    return {
      tidemark: valueOf(tidemark, c),
      namespace: own,
      cache,
      key: keyUrl(
        own,
        key,
        [...varied].map((name) => [name, request.headers.get(name) ?? ""]),
      ),
      urls: [...new Set([url, key])],
      read: { waitUntil, fresh: options.fresh?.(c) },
      waitUntil: waitUntil ?? (() => undefined),
    }
  }

  /** Looks for a copy that may be served, and sets off its revalidation where it is stale. */
  async function find({ request, revalidate, isExpired }: Turn<C>, visit: Visit): Promise<Found> {
    const copy = await quietly(() => visit.cache.match(visit.key))
    const entry = copy && entryOf(copy)
    if (!copy || !entry) return { how: "fwd=uri-miss", hadCopy: false }
    const judgement = await visit.tidemark.judge(
      entry.stamp,
      visit.namespace,
      dependsOn(entry.depends, visit.urls),
      visit.read,
    )
    const { verdict } = judgement
    const isFresh = verdict === "fresh" && !isExpired?.(copy)
    const isUsable = verdict === "fresh" || (verdict === "stale" && judgement.staleFor <= swr && swr > 0)
    if (isFresh || (revalidate && isUsable)) {
      if (!isFresh && revalidate) inBackground(request, revalidate, visit)
      const headers = servedHeaders(copy, isFresh ? entry.headers : undefined)
      return { copy, headers, how: isFresh ? "hit" : "hit; detail=stale-while-revalidate" }
    }
    discard(copy)
    return verdict === "unknown"
      ? { how: "fwd=bypass; detail=epochs-unknown", hadCopy: false }
      : { how: `fwd=stale; detail=${verdict === "dead" ? "purged" : "invalidated"}`, hadCopy: true }
  }

  /** Has a page made once more, whoever else asks for it meanwhile. */
  function inBackground(
    visited: Request,
    revalidate: NonNullable<Turn<C>["revalidate"]>,
    visit: Visit,
  ): void {
    const { key, waitUntil } = visit
    if (revalidations.running(key)) return
    const { end } = revalidations.start(key)
    // Without the visitor's signal: the page is still wanted when they have left.
    const request = new Request(visited, { signal: null })
    // And without conditions: by those less than the page would do.
    const conditions = [...request.headers.keys()].filter((name) => name.startsWith("if-"))
    for (const name of conditions) request.headers.delete(name)
    const run = async () => {
      try {
        if (await isClaimed(visit)) return
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
    turn: Turn<C>,
    visit: Visit,
    { how, hadCopy }: { how: string; hadCopy: boolean },
  ): Promise<Response> {
    const { context, make, keepFor } = turn
    const { cache, key, read, waitUntil } = visit
    const { done, end } = fills.start(key)
    // Others may be waiting for this: it goes on though the visitor leaves.
    waitUntil(done)
    let isBeingStored = false
    try {
      const shares = sharesFill(visit, how)
      const found = shares && !turn.isRevalidation ? await madeElsewhere(turn, visit) : undefined
      if (found) return answer(turn, found, collapsed(how, found.how))
      if (shares) claim(visit, done)
      const { stamp } = await visit.tidemark.begin(visit.namespace, read)
      if (!stamp) end()
      const response = await make()
      const tags = await label(context, response)
      const isKept = !turn.failed?.() && isStorable(response, varied)
      if (isKept) unstorable.delete(key)
      else if (unstorable.size < MAX_UNSTORABLE) unstorable.add(key)
      else unstorable.clear()
      if (!isKept && hadCopy && response.status < 500) waitUntil(quietly(() => cache.delete(key)))
      if (!isKept) return tell(response, how)
      if (!stamp) return tell(response, "fwd=bypass; detail=epochs-unknown")
      const entry = { stamp, depends: { tags, urls: visit.urls } }
      const copy = storedCopy(response.clone(), entry, Math.min(keepFor?.() ?? maxCacheTtl, maxCacheTtl))
      isBeingStored = true
      const failed = (cause: unknown) => onWarning?.({ code: "put-failed", cause })
      waitUntil(cache.put(key, copy).catch(failed).finally(end))
      return tell(response, `${how}; stored`)
    } finally {
      if (!isBeingStored) end()
    }
  }

  /**
   * Tells the other isolates over the same cache that a page is being made. Not atomic: two that begin in the same
   * instant both make it.
   */
  function claim({ cache, key, waitUntil }: Visit, done: Promise<void>): void {
    // As long as others wait.
    const headers = { "cache-control": "max-age=5" }
    const put = quietly(() => cache.put(key + CLAIM, new Response("", { headers })))
    waitUntil(Promise.all([put, done]).then(() => quietly(() => cache.delete(key + CLAIM))))
  }

  const isClaimed = async ({ cache, key }: Visit): Promise<boolean> =>
    (await quietly(() => cache.match(key + CLAIM))) !== undefined

  /** The page that another isolate is making, when it is there; undefined where none is, or it takes too long. */
  async function madeElsewhere(turn: Turn<C>, visit: Visit) {
    for (let wait = FIRST_LOOK; wait < FILL_PATIENCE && (await isClaimed(visit)); wait *= 2) {
      await new Promise((resolve) => setTimeout(resolve, wait))
      const found = await find(turn, visit)
      if (found.copy) return found
    }
    return undefined
  }

  /** Whether it is worth to wait for others that make the same page, and to have others wait. */
  const sharesFill = ({ key }: Visit, how: string): boolean =>
    !how.startsWith("fwd=bypass") && !unstorable.has(key)

  /** Labels what was made for the cache in front, and tells its tags. */
  async function label(c: C, response: Response): Promise<readonly string[]> {
    const tags = (await options.tags?.(c, response)) ?? []
    if (!options.labels) return tags
    const { headers, separator, dropped } = options.labels(valueOf(namespace, c), tags)
    for (const [name, value] of Object.entries(headers)) {
      const present = response.headers.get(name)
      response.headers.set(name, present ? present + separator + value : value)
    }
    if (dropped.length > 0) onWarning?.({ code: "tags-dropped", dropped })
    return tags
  }

  async function pass({ context, request, make }: Turn<C>, why: string): Promise<Response> {
    const response = await make()
    if (request.method === "GET" || request.method === "HEAD") await label(context, response)
    return tell(response, `fwd=${why}`)
  }

  return async function serve(turn) {
    const { request } = turn
    const forwarded = whyForwarded(request)
    if (forwarded) return pass(turn, forwarded)
    const visit = await visitOf(turn, (opened ??= await openCache()))
    if (turn.isRevalidation) return fill(turn, visit, { how: "fwd=stale", hadCopy: true })
    let found = await find(turn, visit)
    const { how } = found
    const running = !found.copy && sharesFill(visit, how) ? fills.running(visit.key) : undefined
    if (running && (await settles(running, FILL_PATIENCE))) {
      found = await find(turn, visit)
      if (found.copy) return answer(turn, found, collapsed(how, found.how))
    }
    return found.copy ? answer(turn, found, how) : fill(turn, visit, found)
  }
}

function answer<C>(
  { respond }: Turn<C>,
  { copy, headers }: Extract<Found, { copy: Response }>,
  how: string,
): Response {
  const { "cache-status": before } = headers
  headers["cache-status"] = `${before === undefined ? "" : `${before}, `}tidemark; ${how}`
  return respond
    ? respond(copy.body, copy.status, headers)
    : new Response(copy.body, { status: copy.status, headers })
}

/** An option that may differ from request to request. */
const valueOf = <C, V extends Tidemark | Namespace>(option: V | ((c: C) => V), c: C): V =>
  typeof option === "function" ? option(c) : option

function tell(response: Response, how: string): Response {
  response.headers.append("cache-status", `tidemark; ${how}`)
  return response
}

/** What is told of a page that was waited for: why, and where it is stale by then, that it is. */
const collapsed = (how: string, found: string): string =>
  `${how.split(";", 1)[0]}; collapsed${found.slice("hit".length)}`

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
