import { type Epoch, parseStamp } from "../protocol/epoch.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { type Milliseconds, MINUTE } from "../protocol/time.ts"
import type { WaitUntil } from "./epochs.ts"
import { DEFAULT_TIMEOUT, Guard, TimedOut } from "./guard.ts"
import type { Making } from "./making.ts"
import { dependsOn, discard, entryOf, type Found, isForbidden, servedHeaders, whyForwarded } from "./page.ts"
import { type Keyed, type Keying, type KeyOptions, keyingOf } from "./page-key.ts"
import type { Labeller } from "./tag-header.ts"
import type { Judgement, ReadOptions, Tidemark } from "./tidemark.ts"

/**
 * Pages under their stamps: what the plugs of frameworks that answer a request with a response have in common. Each
 * says what a request is about, and how its page is made.
 *
 * This is the way of a hit. What it takes to make a page, to keep it, and to wait for others that do, is loaded when
 * the first one is made: `making.ts`.
 */

/** Said where nothing is known of the epochs. */
export const UNKNOWN = "fwd=bypass; detail=epochs-unknown"

type OrPromise<T> = T | Promise<T>

/** As much of the Cache API as pages need; keys are urls. */
export interface PageStore {
  match(key: string): Promise<Response | undefined>
  put(key: string, response: Response): Promise<void>
  delete(key: string): Promise<boolean>
}

/**
 * - `tags-dropped`        tags did not fit into the tag header: the cache in front drops the page at any purge by tag
 *                         in its namespace, by its overflow tag
 * - `tags-failed`         `tags` threw, or gave no list of texts: the page counts as depending on anything
 * - `cut-short`           a page broke off, or was shorter than it was said to be: it is not kept
 * - `nonce`               a page has a nonce in it, which is one visitor's own: it is not kept
 * - `put-failed`          a page could not be stored
 * - `cache-failed`        the cache could not be read, or did not answer in time; or the runtime's own could not be
 *                         opened, and pages are kept in memory
 * - `revalidation-failed` a page could not be made once more: the old one stays, and it is tried again later
 */
export interface EpochCacheWarning {
  readonly code:
    | "tags-dropped"
    | "tags-failed"
    | "cut-short"
    | "nonce"
    | "put-failed"
    | "cache-failed"
    | "revalidation-failed"
  readonly dropped?: readonly string[]
  /** What was thrown; of a page that could not be made once more, the status where there was one. */
  readonly cause?: unknown
}

/** `C` is what the framework tells of a request. */
export interface PagesOptions<C> extends KeyOptions {
  /** The reader of epochs; made once an isolate, not once a request. */
  readonly tidemark: Tidemark | ((c: C) => Tidemark)
  /** The namespace of the pages. */
  readonly namespace: Namespace | ((c: C) => Namespace)
  /** The tags of a page, known when it has been made. Its url is asked by itself. Default: none. */
  readonly tags?: (c: C, response: Response) => OrPromise<readonly string[]>
  /**
   * Whether a request is one visitor's own affair: it carries a session, a preview or a draft's cookie. It is then not
   * answered from the cache, and what it is answered with is not kept. Default: none is.
   */
  readonly bypass?: (c: C) => boolean
  /**
   * How long after a soft invalidation, in milliseconds, the old page may still be served while it is revalidated.
   * Default 60,000. 0: never. After a hard one it never is.
   */
  readonly swr?: Milliseconds
  /**
   * How long after a soft invalidation, in milliseconds, the old page may be served where it cannot be made once more:
   * that throws, or answers with an error other than 404, 410 and 451. Default 300,000. 0: never. After a hard one it
   * never is.
   */
  readonly staleIfError?: Milliseconds
  /**
   * Where pages are kept. Default `caches.default`, or `caches.open("tidemark")`, or where there is no Cache API,
   * `memoryPages()`.
   */
  readonly cache?: PageStore
  /** How long a request waits for `cache` at most, in milliseconds; then the page is made. Default 2,000. */
  readonly cacheTimeout?: Milliseconds
  /** How long the cache keeps a page at most, in milliseconds. Default 30 days, as `maxCacheTtl` in the configuration. */
  readonly maxCacheTtl?: Milliseconds
  /**
   * Labels responses for the cache in front, so that it can be purged by their tags: `labelsFor(cloudflare)` of
   * `tidemark/tags`. Default: none, which is right where no cache is in front.
   */
  readonly labels?: Labeller
  /**
   * The url that the page is published under, where it is not the request's: behind a proxy that ends TLS, or under
   * another name. It is what is *asked*; what the page is kept under stays the request's own. Default: the request's,
   * without parameters that make no other page.
   */
  readonly url?: (c: C) => string
  /**
   * What the page is kept under, instead of the request's url; its origin, the headers that name it, `vary` and
   * `version` are in the key all the same. Several urls may share a key; one that is a url is asked as well.
   */
  readonly key?: (c: C) => OrPromise<string>
  /** Reads one's own write: see `ReadOptions`. */
  readonly fresh?: (c: C) => { readonly atLeast: Epoch } | undefined
  /**
   * Called when something is not as it should be, with the path of the page where tags were dropped. What it throws is
   * ignored. Default: `console.warn`, once a minute for each code, and for each page that tags were dropped of.
   */
  readonly onWarning?: (warning: EpochCacheWarning, c: C, page?: string) => void
}

/** What a framework made for a request. */
export interface Made {
  /** It is left as it is. */
  readonly response: Response
  /** Those of its headers that the page itself made: they alone are kept. Default: all. */
  readonly own?: Headers
  /** False for an error's page, and for one that had to ask to be kept and did not. Default: true. */
  readonly mayBeKept?: boolean
  /** What it said that it shows, beside `tags` of the options. Default: nothing. */
  readonly tags?: readonly string[]
  /** After this it is stale, though nothing invalidated it, in milliseconds. Default: never. */
  readonly maxAge?: Milliseconds
  /** How long it may then be served, in milliseconds. Default: `swr` of the options. */
  readonly swr?: Milliseconds
}

/** One request, as its framework hands it over. */
export interface Turn<C> {
  readonly context: C
  readonly request: Request
  /**
   * Makes the page. Where it may be kept, of a request that lacks what the page must not be made from; else of the
   * visitor's own.
   */
  readonly make: (request: Request, isToBeKept: boolean) => Promise<Made>
  /** The framework makes its page from the visitor's request, whatever `make` is given. Default false. */
  readonly isDeaf?: boolean
  /** Headers that code outside the plug has prepared for this visitor. Default: none. */
  readonly prepared?: Headers
  /**
   * Makes the page once more, with nobody waiting, by a turn of its own whose `isRevalidation` is set. False where there
   * is no way to: a request for a stale page then waits for the new one. Default: a turn like this one.
   */
  readonly revalidate?: ((request: Request) => Promise<Response>) | false
  /** This is to fill, and not to be answered from the cache. */
  readonly isRevalidation?: boolean | undefined
  readonly waitUntil?: WaitUntil | undefined
  /**
   * Answers with what the cache had; with nothing, where this visitor must not be answered from it. Default: a plain
   * `Response`.
   */
  readonly respond?: (
    body: ReadableStream | null,
    init: { readonly status: number; readonly headers: Record<string, string> },
  ) => OrPromise<Response | undefined>
}

/** One turn on its way. */
export interface Visit<C> {
  readonly turn: Turn<C>
  readonly namespace: Namespace
  readonly tidemark: Tidemark
  readonly cache: PageStore
  readonly page: Keyed
  /** What the page is kept under, for those that can read all of its encodings. */
  readonly pageKey: string
  /** What it is asked by. */
  readonly urls: readonly string[]
  readonly read: ReadOptions
  /** What it is kept under for this visitor. */
  key: string
  /** Why the page has to be made, where it has. */
  why: string
  /** A stale copy, for where the page cannot be made. */
  spare?: Found | undefined
  /** Of the copy that was found last, what a new one differs by. */
  seen?: string | undefined
  /** How long the cache has been waited for. */
  waited: Milliseconds
}

/** What making a page needs of the way of a hit. */
export interface Serving<C> {
  readonly guard: Guard
  readonly keying: Keying
  readonly open: (context: C) => Promise<PageStore>
  readonly serve: (turn: Turn<C>) => Promise<Response>
  readonly find: (visit: Visit<C>, isCollapsed?: boolean) => Promise<Response | undefined>
  readonly hit: (
    visit: Visit<C>,
    found: Found,
    how: string,
    isStale?: boolean,
  ) => Promise<Response | undefined>
  readonly ask: <T>(visit: Visit<C>, call: () => Promise<T>) => Promise<T | undefined>
  /** Requests that revalidate, and the page that each is for: of what they say it might be another one. */
  readonly ours: WeakMap<Request, Keyed>
}

/**
 * Answers turns: from the cache where a stamp allows it, and else with the page that is made, which is then kept.
 *
 * It is a shared cache: a page that is one visitor's own must say so (`Cache-Control: private`, `Set-Cookie`, `Vary`),
 * or its request be told by `bypass`. What is kept is judged by its stamp alone: `max-age` is for browsers. But where an
 * origin says 0 to shared caches (`s-maxage`, `CDN-Cache-Control`, `Expires`), it is believed.
 *
 * What happened is told in `Cache-Status` (RFC 9211): `hit`; `hit; detail=stale-while-revalidate` or
 * `detail=stale-if-error`; `fwd=uri-miss`, `fwd=stale` and, where nothing was known of the epochs,
 * `fwd=bypass; detail=epochs-unknown`.
 *
 * @param isSorted whether the order of parameters makes no other page. Default false
 * @returns a response of its own, or where none can be made like it (a WebSocket's), the very one that was made
 * @throws {RangeError} when an option is out of range: `cacheTimeout` not above 0, or no header in `vary`
 */
export function createPages<C>(
  options: PagesOptions<C>,
  isSorted?: boolean,
): (turn: Turn<C>) => Promise<Response> {
  const { swr = MINUTE, staleIfError = 5 * MINUTE, cacheTimeout = DEFAULT_TIMEOUT } = options
  const keying = keyingOf(options, isSorted)
  const guard = new Guard(cacheTimeout)
  const ours = new WeakMap<Request, Keyed>()
  const serving = { guard, keying, ours, open, serve, find, hit, ask }
  let { cache: opened } = options
  let opening: Promise<PageStore> | undefined
  let loading: Promise<Making<C>> | undefined
  let making: Making<C> | undefined

  return serve

  async function serve(turn: Turn<C>): Promise<Response> {
    const { context, request, prepared } = turn
    const isOwn = options.bypass?.(context) || (prepared && isForbidden(prepared, "private|no-store"))
    const forwarded = isOwn ? "bypass" : whyForwarded(request)
    if (forwarded) return (await load()).pass(turn, `fwd=${forwarded}`)
    const namespace = valueOf(options.namespace, context)
    const own = await options.key?.(context)
    const page = ours.get(request) ?? keying.keyed(request, namespace, own)
    const { key } = page
    if (key === undefined) return (await load()).pass(turn, "fwd=request")
    const { url, sorted } = options.url ? keying.plain(options.url(context)) : page.plain
    const visit: Visit<C> = {
      turn,
      namespace,
      tidemark: valueOf(options.tidemark, context),
      cache: opened ?? (await open(context)),
      page,
      pageKey: key,
      urls: [...new Set([url, sorted, own ?? url])],
      read: { waitUntil: turn.waitUntil, fresh: options.fresh?.(context) },
      key,
      why: "fwd=stale",
      waited: 0,
    }
    if (turn.isRevalidation) return (await load()).remake(visit)
    // Nothing is waited for twice: while the cache is asked for the page, the store is for its epochs.
    void visit.tidemark.begin(namespace, visit.read)
    // Looked at before the cache: one may end, and have stored the page, after that was asked.
    const running = making?.running(key)
    return (await find(visit)) ?? (await load()).make(visit, running)
  }

  function load(): Promise<Making<C>> {
    return (loading ??= import("./making.ts").then(
      ({ createMaking }) => (making = createMaking(options, serving)),
    ))
  }

  function open(context: C): Promise<PageStore> {
    return (opening ??= import("./page-cache.ts").then(async ({ openCache }) => {
      opened = await openCache(guard, async (cause) => (await load()).warn(context, "cache-failed", cause))
      return opened
    }))
  }

  /** What the cache answers, within what is left of the time that this request may wait for it. */
  async function ask<T>(visit: Visit<C>, call: () => Promise<T>): Promise<T | undefined> {
    const since = Date.now()
    try {
      return await guard.run(call, Math.max(1, cacheTimeout - visit.waited))
    } catch (cause) {
      if (!(cause instanceof TimedOut && cause.isRepeated))
        (await load()).warn(visit.turn.context, "cache-failed", cause)
      return undefined
    } finally {
      visit.waited += Math.max(0, Date.now() - since)
    }
  }

  /** The copy that this visitor can read. */
  async function look(visit: Visit<C>): Promise<Found | undefined> {
    const found = entryOf(await ask(visit, () => visit.cache.match(visit.key)))
    const coding = found?.copy.headers.get("content-encoding")
    if (!found || !coding) return found
    const key = (await load()).keyFor(visit, coding)
    if (key === visit.key) return found
    discard(found.copy)
    if (key === undefined) return undefined
    visit.key = key
    return look(visit)
  }

  /** Answers with the copy that the cache has, and sets off its revalidation where it is stale; else tells why not. */
  async function find(visit: Visit<C>, isCollapsed?: boolean): Promise<Response | undefined> {
    const { tidemark, namespace, urls, read, pageKey, turn } = visit
    if (visit.spare) discard(visit.spare.copy)
    visit.spare = undefined
    const found = await look(visit)
    visit.seen = found && found.stamp + found.until
    if (!found) {
      visit.why = "fwd=uri-miss"
      return undefined
    }
    const { stamp, depends, until, swr: ownSwr = swr } = found
    const parsed = parseStamp(stamp)
    // Only of a stamp that is ahead of our clock it is asked whether it may be: nearly all are of the past.
    const isForged =
      parsed &&
      parsed.epoch > (Date.now() + MINUTE) * 1_000 &&
      !(await (await load()).isPossible(visit, parsed))
    const judgement: Judgement = isForged
      ? { verdict: "dead" }
      : await tidemark.judge(parsed, namespace, dependsOn(depends, urls), read)
    const { verdict } = judgement
    const invalidatedFor = verdict === "stale" ? judgement.staleFor : verdict === "fresh" ? -1 : Infinity
    const expiredFor = Date.now() - until
    const how = isCollapsed ? `${visit.why}; collapsed` : "hit"
    if (invalidatedFor < 0 && expiredFor < 0) return hit(visit, found, how)
    if (turn.revalidate !== false && invalidatedFor < swr && expiredFor < ownSwr) {
      if ((await load()).refresh(visit))
        return hit(visit, found, `${how}; detail=stale-while-revalidate`, true)
    }
    const isSpare = invalidatedFor < staleIfError && expiredFor < staleIfError
    if (isSpare && making?.isResting(pageKey)) return hit(visit, found, `${how}; detail=stale-if-error`, true)
    if (isSpare) visit.spare = found
    else discard(found.copy)
    const detail = { fresh: "expired", stale: "invalidated", dead: "purged", unknown: "" }[verdict]
    visit.why = detail ? `fwd=stale; detail=${detail}` : UNKNOWN
    return undefined
  }

  /** Answers with a copy; with nothing, where this visitor must not be answered from the cache. */
  async function hit(
    visit: Visit<C>,
    { copy, headers: given }: Found,
    how: string,
    isStale?: boolean,
  ): Promise<Response | undefined> {
    const { request, respond = (body, init) => new Response(body, init) } = visit.turn
    const headers = servedHeaders(copy, isStale ? undefined : given)
    headers["cache-status"] = [headers["cache-status"], `tidemark; ${how}`].filter(Boolean).join(", ")
    const isAsked = request.headers.has("if-none-match") || request.headers.has("if-modified-since")
    const known = isAsked ? (await load()).notModified(request, headers) : undefined
    const hasBody = !known && request.method !== "HEAD"
    const init = known ? { status: 304, headers: known } : { status: 200, headers }
    const response = await respond(hasBody ? copy.body : null, init)
    if (!hasBody || !response) discard(copy)
    if (!response) visit.why = "fwd=bypass"
    return response
  }
}

/** An option that may differ from request to request. */
export const valueOf = <C, V extends Tidemark | Namespace>(option: V | ((c: C) => V), c: C): V =>
  typeof option === "function" ? option(c) : option
