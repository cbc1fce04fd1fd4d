import type { Context, Env, ExecutionContext, MiddlewareHandler } from "hono"
import { type Epoch } from "../protocol/epoch.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { TAG_RULES, type TagCache } from "../protocol/tags.ts"
import { DAY, type Milliseconds, MINUTE, SECOND } from "../protocol/time.ts"
import type { WaitUntil } from "./epochs.ts"
import { dependsOn, entryOf, isStorable, keyRequest, servedCopy, storedCopy, whyForwarded } from "./page.ts"
import { settles } from "./patience.ts"
import { SingleFlight } from "./single-flight.ts"
import type { ReadOptions, Tidemark } from "./tidemark.ts"

/** How long a request waits for another that is filling the same page; a Worker may have lost it. */
const FILL_PATIENCE: Milliseconds = 5 * SECOND

/** How long Workers let work run on after the response. What was not done by then never will be. */
const REVALIDATION_LIMIT: Milliseconds = 30 * SECOND

/** Pages remembered as not to be stored, which others then do not wait for. */
const MAX_UNSTORABLE = 1_000

/** Headers of a request that ask for less than the page, or for it only if it changed. */
const CONDITIONS = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"]

type OrPromise<T> = T | Promise<T>

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

export interface EpochCacheOptions<E extends Env = Env> {
  /** The reader of epochs; made once an isolate, not once a request. */
  readonly tidemark: Tidemark | ((c: Context<E>) => Tidemark)
  /** The namespace of the pages behind this middleware. */
  readonly namespace: Namespace | ((c: Context<E>) => Namespace)
  /** The tags of a page, known when its handler has run. Its url is asked by itself. Default: none. */
  readonly tags?: (c: Context<E>, response: Response) => OrPromise<readonly string[]>
  /**
   * The app itself. With it a stale page is served while the app runs once more in the background; without it a
   * request for a stale page waits for the new one.
   */
  readonly app?: { fetch(request: Request, env?: any, executionCtx?: ExecutionContext): OrPromise<Response> }
  /**
   * How long after a soft invalidation, in milliseconds, the old page may still be served while it is revalidated.
   * Default 60,000. 0: never. After a hard one it never is.
   */
  readonly swr?: Milliseconds
  /** Where pages are kept. Default `caches.default`, or where there is none, `caches.open("tidemark")`. */
  readonly cache?: Cache
  /** How long the Cache API keeps a page at most, in milliseconds. Default 30 days, as `maxCacheTtl` in the configuration. */
  readonly maxCacheTtl?: Milliseconds
  /** The cache in front, for which responses are labelled. Default `"cloudflare"`, by `Cache-Tag`. `false`: none. */
  readonly inFront?: TagCache | false
  /** Another name of the tag header, as CloudFront lets you set one. */
  readonly header?: string
  /** Bytes that the tag header may have. Default: what the cache that reads it takes. */
  readonly budget?: number
  /** The url that the page is published under. Default: the request's. */
  readonly url?: (c: Context<E>) => string
  /**
   * What the page is kept under. Default: its url. Several urls may share a key, as where parameters are left out;
   * a key that is a url is then asked as well, so let it be the one that is published.
   */
  readonly key?: (c: Context<E>) => OrPromise<string>
  /**
   * Names of request headers that pages differ by, put into the key. A response whose `Vary` names any other but
   * `Accept-Encoding` is not kept. Default: none.
   */
  readonly vary?: readonly string[]
  /** Reads one's own write: see `ReadOptions`. */
  readonly fresh?: (c: Context<E>) => { readonly atLeast: Epoch } | undefined
  /** Called when something is not as it should be; `no-cache-api` once. Default: nobody is told. */
  readonly onWarning?: (warning: EpochCacheWarning) => void
}

/** What one request is about. */
interface Visit {
  readonly tidemark: Tidemark
  readonly namespace: Namespace
  readonly cache: Cache
  readonly key: Request
  readonly urls: readonly string[]
  readonly read: ReadOptions
  readonly waitUntil: WaitUntil
}

/** What the cache has for a visit: a response, or why the app has to be asked. */
type Found =
  | { readonly response: Response; readonly how: string }
  | { readonly response?: undefined; readonly how: string; readonly hadCopy: boolean }

/**
 * Keeps pages in the Cache API under their stamps, and never serves one as fresh that was invalidated since.
 *
 * It is a shared cache: a page that is one visitor's own must say so (`Cache-Control: private`, `Set-Cookie`, `Vary`)
 * or not pass here. What is kept is judged by its stamp alone: `max-age` and the like are for the caches in front.
 * Middleware that compresses, or that answers by itself whom it does not let in, belongs before this one.
 *
 * What happened is told in `Cache-Status` (RFC 9211): `hit`; `hit; detail=stale-while-revalidate`; `fwd=uri-miss`,
 * `fwd=stale` and, where nothing was known of the epochs, `fwd=bypass; detail=epochs-unknown`.
 */
export function epochCache<E extends Env = any>(options: EpochCacheOptions<E>): MiddlewareHandler<E> {
  const {
    inFront = "cloudflare",
    swr = MINUTE,
    maxCacheTtl = 30 * DAY,
    app,
    onWarning = () => undefined,
  } = options
  const varied = new Set((options.vary ?? []).map((name) => name.toLowerCase()))
  const fills = new SingleFlight(FILL_PATIENCE)
  const revalidations = new SingleFlight(REVALIDATION_LIMIT)
  /** Requests of our own, which are to fill and not to be answered from the cache. */
  const ours = new WeakSet<Request>()
  const unstorable = new Set<string>()
  let warnedOfNoCache = false

  const namespaceOf = (c: Context<E>) =>
    typeof options.namespace === "function" ? options.namespace(c) : options.namespace
  const tidemarkOf = (c: Context<E>) =>
    typeof options.tidemark === "function" ? options.tidemark(c) : options.tidemark

  async function visitOf(c: Context<E>, cache: Cache): Promise<Visit> {
    const namespace = namespaceOf(c)
    const url = options.url?.(c) ?? c.req.url
    const key = (await options.key?.(c)) ?? url
    const fresh = options.fresh?.(c)
    const waitUntil = waitUntilOf(c)
    return {
      tidemark: tidemarkOf(c),
      namespace,
      cache,
      key: keyRequest(
        namespace,
        key,
        [...varied].map((name) => [name, c.req.header(name) ?? ""]),
      ),
      urls: [...new Set([url, key])],
      read: { ...(waitUntil ? { waitUntil } : {}), ...(fresh ? { fresh } : {}) },
      waitUntil: waitUntil ?? (() => undefined),
    }
  }

  /** Looks for a copy that may be served, and sets off its revalidation where it is stale. */
  async function find(c: Context<E>, visit: Visit): Promise<Found> {
    const copy = await quietly(() => visit.cache.match(visit.key))
    const entry = copy && entryOf(copy)
    if (!copy || !entry) return { how: "fwd=uri-miss", hadCopy: false }
    const judgement = await visit.tidemark.judge(
      entry.stamp,
      visit.namespace,
      dependsOn(entry.depends, visit.urls),
      visit.read,
    )
    switch (judgement.verdict) {
      case "fresh":
        return { response: servedCopy(copy, entry.headers, false), how: "hit" }
      case "stale":
        if (!app || judgement.staleFor > swr || swr === 0) break
        revalidate(c, app, visit)
        return { response: servedCopy(copy, entry.headers, true), how: "hit; detail=stale-while-revalidate" }
      case "dead":
        break
      case "unknown":
        discard(copy)
        return { how: "fwd=bypass; detail=epochs-unknown", hadCopy: false }
    }
    discard(copy)
    return {
      how: `fwd=stale; detail=${judgement.verdict === "stale" ? "invalidated" : "purged"}`,
      hadCopy: true,
    }
  }

  /** Runs the app once more for a page, whoever else asks for it meanwhile. */
  function revalidate(c: Context<E>, through: NonNullable<typeof app>, { key, waitUntil }: Visit): void {
    if (revalidations.running(key.url)) return
    const { end } = revalidations.start(key.url)
    // Without the visitor's signal: the page is still wanted when they have left.
    const request = new Request(c.req.raw, { signal: null })
    for (const name of CONDITIONS) request.headers.delete(name)
    ours.add(request)
    const run = async () => {
      try {
        const response = await through.fetch(request, c.env, executionCtxOf(c))
        discard(response)
        // Only when it is stored is the next visitor served the new one.
        await fills.running(key.url)
      } catch {
        // The old page stays until `swr` has passed; the next visit tries again.
      } finally {
        end()
      }
    }
    waitUntil(run())
  }

  /** Runs the handler, and keeps what it made under a stamp from before. Returns how, for `Cache-Status`. */
  async function fill(
    c: Context<E>,
    next: () => Promise<void>,
    visit: Visit,
    found: { how: string; hadCopy: boolean },
  ): Promise<string> {
    const { cache, key, tidemark, namespace, read, waitUntil } = visit
    const { done, end } = fills.start(key.url)
    // Others may be waiting for this: it goes on though the visitor leaves.
    waitUntil(done)
    let isBeingStored = false
    try {
      const { stamp } = await tidemark.begin(namespace, read)
      if (!stamp) end()
      await next()
      const tags = await label(c)
      const isKept = !c.error && isStorable(c.res, varied)
      remember(unstorable, key.url, !isKept)
      if (!isKept && found.hadCopy && c.res.status < 500) waitUntil(quietly(() => cache.delete(key)))
      if (!isKept) return found.how
      if (!stamp) return "fwd=bypass; detail=epochs-unknown"
      const copy = storedCopy(c.res.clone(), { stamp, depends: { tags, urls: visit.urls } }, maxCacheTtl)
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
      return `${found.how}; stored`
    } finally {
      if (!isBeingStored) end()
    }
  }

  /** Labels what a handler made for the cache in front, and tells its tags. */
  async function label(c: Context<E>): Promise<readonly string[]> {
    const tags = (await options.tags?.(c, c.res)) ?? []
    if (inFront === false) return tags
    const { header = TAG_RULES[inFront].header } = options
    const present = c.res.headers.get(header)
    const { headers, dropped } = tidemarkOf(c).headers(namespaceOf(c), tags, {
      inFront,
      header,
      ...(options.budget === undefined ? {} : { budget: options.budget }),
    })
    const value = headers[header]
    if (value !== undefined)
      c.header(header, present ? present + TAG_RULES[inFront].separator + value : value)
    if (dropped.length > 0) {
      onWarning({ code: "tags-dropped", message: `Tags did not fit into the header ${header}.`, dropped })
    }
    return tags
  }

  const tell = (c: Context<E>, how: string) => c.header("cache-status", `tidemark; ${how}`, { append: true })

  function answer(c: Context<E>, response: Response, how: string): Response {
    response.headers.append("cache-status", `tidemark; ${how}`)
    // Through the context, so that headers which others prepared are not lost.
    return c.newResponse(response.body, response)
  }

  return async function serveFromEpochCache(c, next) {
    const forwarded = whyForwarded(c.req.raw)
    const cache = forwarded ? undefined : await findCache(options.cache)
    if (!cache) {
      if (!forwarded && !warnedOfNoCache) {
        warnedOfNoCache = true
        onWarning({ code: "no-cache-api", message: "This runtime has no Cache API: nothing is cached." })
      }
      await next()
      if (c.req.method === "GET" || c.req.method === "HEAD") await label(c)
      tell(c, forwarded ? `fwd=${forwarded}` : "fwd=bypass; detail=no-cache-api")
      return undefined
    }
    const visit = await visitOf(c, cache)
    let found: Found = { how: "fwd=stale; detail=revalidation", hadCopy: true }
    if (!ours.has(c.req.raw)) {
      found = await find(c, visit)
      if (found.response) return answer(c, found.response, found.how)
      const { how } = found
      const running =
        how.startsWith("fwd=bypass") || unstorable.has(visit.key.url)
          ? undefined
          : fills.running(visit.key.url)
      if (running && (await settles(running, FILL_PATIENCE))) {
        found = await find(c, visit)
        if (found.response) return answer(c, found.response, collapsed(how, found.how))
      }
    }
    tell(c, await fill(c, next, visit, found))
    return undefined
  }
}

/** What is told of a page that was waited for: why, and where it is stale by then, that it is. */
const collapsed = (how: string, found: string): string =>
  found === "hit" ? `${how}; collapsed` : `${how.split("; ", 1)[0]}; collapsed${found.slice("hit".length)}`

/** The runtime's own cache: Workers have a default one, others have to open it. */
async function findCache(given: Cache | undefined): Promise<Cache | undefined> {
  if (given || typeof caches === "undefined") return given
  const own = caches as CacheStorage & { readonly default?: Cache }
  return own.default ?? (await own.open("tidemark"))
}

/** Outside Workers there is none, and Hono throws. */
function executionCtxOf(c: Context): ExecutionContext | undefined {
  try {
    return c.executionCtx
  } catch {
    return undefined
  }
}

function waitUntilOf(c: Context): WaitUntil | undefined {
  const executionCtx = executionCtxOf(c)
  return executionCtx && ((promise) => executionCtx.waitUntil(promise))
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
