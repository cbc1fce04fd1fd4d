import { formatStamp, type Stamp } from "../protocol/epoch.ts"
import { DAY, type Milliseconds, MINUTE, SECOND } from "../protocol/time.ts"
import { BackOff } from "./back-off.ts"
import { droppedTeller } from "./dropped.ts"
import { accepts } from "./codings.ts"
import { type Flight, Flights } from "./flights.ts"
import { TimedOut } from "./guard.ts"
import { notModified } from "./not-modified.ts"
import { discard, type Entry, FOREVER, isList } from "./page.ts"
import {
  type EpochCacheWarning,
  type Made,
  type PagesOptions,
  type Serving,
  type Turn,
  UNKNOWN,
  valueOf,
  type Visit,
} from "./pages.ts"
import { isDecoded, isStorable, lengthOf, storedHeaders } from "./page-storable.ts"
import { pagesOf, sourceOf } from "./page-source.ts"
import { quietly, settles } from "./patience.ts"
import { onceAMinute, warn as warnOf } from "./trouble.ts"
import { wordsOf } from "./words.ts"
import { CutShort, OneVisitorsOwn, readWhole, type Whole } from "./whole.ts"

/** Pages that are made: by one at a time, kept once they are whole, and made once more when they are stale. */

/** Whether work goes on when the request that began it has ended. In Workers it may not, and nobody is told. */
const LIVES_ON =
  "process" in globalThis &&
  !("EdgeRuntime" in globalThis) &&
  !(typeof navigator === "object" && navigator.userAgent === "Cloudflare-Workers")

/** How long a request waits for another that is filling the same page, before it makes the page as well. */
const FILL_PATIENCE: Milliseconds = (LIVES_ON ? 30 : 5) * SECOND

/** How long Workers let work run on after the response. What was not done by then never will be. */
const WORK_LIMIT: Milliseconds = LIVES_ON ? Infinity : 30 * SECOND

/** A page that another isolate is making is looked for after this, then after twice that, and so on. */
const FIRST_LOOK: Milliseconds = 50
const LONGEST_LOOK: Milliseconds = SECOND

/** How long other isolates wait for one that claims to make a page, and how long its claim lasts if it is not renewed. */
const CLAIM_PATIENCE: Milliseconds = 30 * SECOND
const CLAIM_SECONDS = 5

/** What takes longer than two minutes hangs: it is claimed no longer, and a revalidation counts as failed. */
const HANGS_AFTER: Milliseconds = 2 * MINUTE

/** Said of what is one visitor's own: no cache in front is to have it either. */
const BYPASS = "fwd=bypass"

/** Behind the key of a page: a copy that those can read who cannot read the first one's encoding. */
const PLAIN = "&plain"

/** Methods that change nothing; after any other, what was kept of its url is not to be trusted (RFC 9111, 4.4). */
const SAFE = /^(?:GET|HEAD|OPTIONS|TRACE)$/

/** Behind the key of a page: what stands in the cache while it is made. */
const CLAIM = "&claim"

/** Pages remembered as not to be stored, which others then do not wait for; of more, all are forgotten. */
const MAX_UNSTORABLE = 1_000

/** Turns of the microtask queue that a page waits for its copy: some microseconds. */
const MAX_TURNS = 200

/** Statuses by which a page is gone, and takes its copy with it. */
const GONE: readonly number[] = [404, 410, 451]

/** A revalidation went to an app, or nowhere, that did not ask this plug. */
const UNREACHED = "it did not come by here: is the app that revalidates the one that has the whole path?"

/** For so long after that, none is tried: pages are made while a request waits. */
const UNREACHED_FOR: Milliseconds = 5 * MINUTE

/** What it takes to make pages. */
export interface Making<C> {
  /** Makes a page that has nothing to do with the cache. */
  pass(turn: Turn<C>, how: string): Promise<Response>
  /**
   * Waits for whoever makes the page already, and else makes it.
   *
   * @param before who did when the cache was asked
   */
  make(visit: Visit<C>, before: Flight | undefined): Promise<Response>
  /** Makes a page whatever the cache has. */
  remake(visit: Visit<C>): Promise<Response>
  /** Has a page made once more, unless that is under way, or failed a short while ago. False where there is no way to. */
  refresh(visit: Visit<C>): boolean
  /**
   * What a page is kept under for a visitor, where the copy that was found has this `Content-Encoding`: the same if they
   * can read it; undefined where there is none that they can.
   */
  keyFor(visit: Visit<C>, coding: string): string | undefined
  /** What `304` says of a page; undefined where the visitor has another one. */
  notModified(request: Request, headers: Readonly<Record<string, string>>): Record<string, string> | undefined
  /** Tells of what is not as it should be. */
  warn(context: C, code: EpochCacheWarning["code"], cause: unknown): void
  /** Whoever makes a page already. */
  running(key: string): Flight | undefined
  /** Whether the log has come as far as a stamp says: somebody may have written it who wants to be fresh for ever. */
  isPossible(visit: Visit<C>, stamp: Stamp): Promise<boolean>
  /** Whether a page could not be made once more a short while ago. */
  isResting(pageKey: string): boolean
}

export function createMaking<C>(options: PagesOptions<C>, serving: Serving<C>): Making<C> {
  const { staleIfError = 5 * MINUTE, maxCacheTtl = 30 * DAY, labels } = options
  const { guard, ask, find } = serving
  const { onWarning = toConsole() } = options
  // What a listener throws is no reason for an error page.
  const tell = (warning: EpochCacheWarning, context: C, page?: string) =>
    void quietly(() => onWarning(warning, context, page))
  const fills = new Flights(WORK_LIMIT)
  const revalidations = new Flights(WORK_LIMIT)
  /** Pages whose revalidation came by here. */
  const reached = new Set<string>()
  const backOff = new BackOff()
  const unstorable = new Set<string>()
  /** Pages whose visitor left while they were made, and took that along. */
  const abandoned = new Set<string>()
  /** Until when stale pages are made while a request waits, as a revalidation never came by here. */
  let unreachableUntil = -Infinity

  return {
    pass,
    make,
    remake: (visit) => fill(visit),
    refresh,
    keyFor({ turn: { request }, pageKey, key }, coding) {
      if (accepts(request, coding)) return key
      // Sooner or later that is a copy which everybody can read.
      const plain = pageKey + PLAIN
      return key === plain ? undefined : plain
    },
    notModified,
    warn,
    async isPossible({ tidemark, namespace, read }, { epoch }) {
      const known = await tidemark.begin(namespace, { ...read, fresh: { atLeast: epoch } })
      return known.stamp !== undefined && known.stamp.epoch >= epoch
    },
    running: (key) => fills.running(key),
    isResting: (pageKey) => backOff.isResting(pageKey),
  }

  async function pass(turn: Turn<C>, how: string): Promise<Response> {
    const { request, context } = turn
    const made = await turn.make(request, false)
    if (!SAFE.test(request.method) && made.response.status < 400) {
      const forgotten = quietly(() => forget(turn))
      turn.waitUntil?.(forgotten)
      await soon(forgotten)
    }
    const isLabelled = /^(?:GET|HEAD)$/.test(request.method) && how !== BYPASS
    return told(made.response, turn, how, isLabelled ? await tagsOf(made, context) : undefined)
  }

  /** Drops what is kept of the url that a request is for. */
  async function forget({ context, request }: Turn<C>): Promise<void> {
    const own = await options.key?.(context)
    const { key } = serving.keying.keyed(request, valueOf(options.namespace, context), own)
    const cache = options.cache ?? (await serving.open(context))
    if (key) for (const name of [key, key + PLAIN]) await guard.run(() => cache.delete(name))
  }

  async function make(visit: Visit<C>, before: Flight | undefined): Promise<Response> {
    let earlier = before
    let isOutOfPatience = false
    const until = performance.now() + FILL_PATIENCE
    while (isWorthWaiting(visit) && !isOutOfPatience) {
      const running = fills.running(visit.key) ?? earlier
      earlier = undefined
      if (!running) break
      const { seen } = visit
      const isOver = await settles(running.landed, FILL_PATIENCE)
      const found = await find(visit, true)
      if (found) return found
      // What was invalidated while it was made is made anew by one as well, unless that goes on for too long.
      const isOutdated = visit.seen !== undefined && visit.seen !== seen && performance.now() < until
      // And what its visitor gave up is taken over by one.
      const isTakenOver = abandoned.has(visit.key) && performance.now() < until
      if (isOver && !isOutdated && !isTakenOver) break
      // Of all that wait, one begins anew; the others see that, and wait for it.
      isOutOfPatience = !isOver && fills.running(visit.key) === running
    }
    if (!isOnlyRead(visit)) return fill(visit, isOutOfPatience)
    if (visit.spare) discard(visit.spare.copy)
    return pass(visit.turn, visit.why)
  }

  function refresh(visit: Visit<C>): boolean {
    if (performance.now() < unreachableUntil) return false
    const { turn, page, pageKey } = visit
    if (isOnlyRead(visit) || revalidations.running(pageKey) || backOff.isResting(pageKey)) return true
    const { end } = revalidations.start(pageKey)
    const again =
      turn.revalidate || ((request: Request) => serving.serve({ ...turn, request, isRevalidation: true }))
    let isLate = false
    const run = async () => {
      if (await isClaimed(visit)) return
      reached.delete(pageKey)
      // Without the visitor's signal: the page is still wanted when they have left.
      const source = sourceOf(turn.request, page)
      // Of a framework's own kind of request none can be made, but by what it says.
      const request = new Request(new Request(source.url, source), { signal: null })
      serving.ours.set(request, page)
      const response = await again(request)
      discard(response)
      if (isLate) return
      if (!reached.delete(pageKey)) {
        // Code before the plug refused it, for now: that says nothing of the app.
        if (isFailure(response)) return setBack(visit, response.status)
        unreachableUntil = performance.now() + UNREACHED_FOR
        warn(turn.context, "revalidation-failed", new Error(UNREACHED))
      }
      // Only when it is stored is the next visitor served the new one.
      await fills.running(pageKey)?.landed
    }
    const fail = (cause: unknown) => {
      // Where the page itself could not be made, that has been told.
      if (!backOff.isResting(pageKey)) setBack(visit, cause)
    }
    const over = run().catch(fail).finally(end)
    waitUntil(visit, over)
    void settles(over, HANGS_AFTER).then((isOver) => {
      if (isOver) return
      isLate = true
      setBack(visit, new TimedOut(HANGS_AFTER, false))
      end()
    })
    return true
  }

  /** The page could not be made once more: the old one stays, and it is tried again later. */
  function setBack(visit: Visit<C>, cause: unknown): void {
    backOff.failed(visit.pageKey)
    warn(visit.turn.context, "revalidation-failed", cause)
  }

  /** What to answer with where the page could not be made; nothing, where there is no old one. */
  async function instead(visit: Visit<C>, cause: unknown): Promise<Response | undefined> {
    const { spare } = visit
    if (!spare && !visit.turn.isRevalidation) return undefined
    setBack(visit, cause)
    visit.spare = undefined
    return spare && serving.hit(visit, spare, "hit; detail=stale-if-error", true)
  }

  /** Makes the page, and keeps it under a stamp from before. */
  async function fill(visit: Visit<C>, isOutOfPatience = false): Promise<Response> {
    const { turn, namespace, tidemark, pageKey, key, urls, read } = visit
    const { context, isRevalidation } = turn
    const { done, end } = fills.start(key)
    // Others may be waiting for this: it goes on though the visitor leaves.
    waitUntil(visit, done)
    let stored: Promise<void> | undefined
    try {
      if (isRevalidation) reached.add(pageKey)
      const isShared = isWorthWaiting(visit)
      if (isShared && !isRevalidation && !(isOutOfPatience && LIVES_ON)) {
        const elsewhere = await madeElsewhere(visit)
        if (elsewhere) return elsewhere
      }
      if (isShared) waitUntil(visit, claimUntil(visit, done))
      const { stamp } = await tidemark.begin(namespace, read)
      if (!stamp) end()
      const made = await attempt(visit)
      if (!("response" in made)) return made
      const { response, own = response.headers, mayBeKept = true } = made
      const tags = await tagsOf(made, context)
      if (!mayBeKept || !isStorable(response, own, serving.keying.varied)) {
        // Of one whose visitor left, nothing is known.
        if (!isLeft(visit)) neverStored(key)
        if (!isFailure(response)) waitUntil(visit, removeOld(visit))
        return told(response, visit.turn, visit.why, tags)
      }
      unstorable.delete(key)
      if (!stamp) return told(response, visit.turn, UNKNOWN, tags)
      const [ours, theirs] = response.body?.tee() ?? [null, null]
      const depends = tags ? { tags, urls: urls.flatMap((url) => [url, ...pagesOf(url)]) } : "anything"
      stored = keep(visit, made, ours, { stamp: formatStamp(stamp), depends })
      const kept = stored.finally(end)
      waitUntil(visit, kept)
      await soon(kept)
      return told(response, visit.turn, `${visit.why}; stored`, tags, theirs)
    } finally {
      if (!stored) {
        settle(visit)
        end()
      }
      if (visit.spare) discard(visit.spare.copy)
    }
  }

  /** Before those who wait are told that a page is not made any more: whether that is for want of its visitor. */
  function settle(visit: Visit<C>, isKept = false): void {
    if (isKept || !isLeft(visit)) abandoned.delete(visit.key)
    else if (abandoned.add(visit.key).size > MAX_UNSTORABLE) abandoned.clear()
  }

  /** Makes the page; or gives what to answer with instead, where it could not be made. */
  async function attempt(visit: Visit<C>): Promise<Made | Response> {
    const { turn, page, key } = visit
    let made: Made
    try {
      // What is never kept need not be made without the visitor's conditions.
      made = await turn.make(sourceOf(turn.request, page, unstorable.has(key)), true)
    } catch (cause) {
      const old = await instead(visit, cause)
      if (!old) throw cause
      return old
    }
    const old = isFailure(made.response) && (await instead(visit, made.response.status))
    if (!old) return made
    discard(made.response)
    return old
  }

  /** Puts a page into the cache once all of it has come. */
  async function keep(
    visit: Visit<C>,
    { response, own = response.headers, maxAge = FOREVER, swr }: Made,
    stream: ReadableStream<Uint8Array> | null,
    entry: Pick<Entry, "stamp" | "depends">,
  ): Promise<void> {
    const { turn, namespace, cache, key, pageKey } = visit
    let isPut = false
    let whole: Whole | null = null
    try {
      const isHtml = /html/i.test(response.headers.get("content-type") ?? "")
      whole = stream && (await readWhole(stream, { length: lengthOf(response), isHtml }))
      const body = whole?.body ?? null
      const headers = ownHeaders(response, own, true)
      if (entry.depends !== "anything") labels?.(headers, namespace, entry.depends.tags ?? [])
      const until = Date.now() + maxAge
      const life = Math.min(maxAge + Math.max(swr ?? 0, staleIfError), maxCacheTtl)
      const copy = life > 0 && copyOf(response, body, storedHeaders(headers, { ...entry, until, swr }, life))
      if (!copy) return
      isPut = true
      const put = () => cache.put(key, copy)
      // A stream takes as long as it comes.
      await (body instanceof ReadableStream ? put() : guard.run(put))
      if (whole && whole.ending() !== "whole") throw new CutShort("the body was not read to its end")
      backOff.succeeded(pageKey)
      settle(visit, true)
    } catch (thrown) {
      settle(visit)
      const ending = whole?.ending()
      const cause = ending instanceof Error ? ending : thrown
      const isPersonal = cause instanceof OneVisitorsOwn
      if (isPersonal) neverStored(key)
      else if (turn.isRevalidation) backOff.failed(pageKey)
      // Also where it was refused: a runtime may have kept what had come until then.
      if (isPut) await remove(visit)
      else if (isPersonal) await removeOld(visit)
      if (cause instanceof TimedOut && cause.isRepeated) return
      warn(turn.context, isPersonal ? "nonce" : cause instanceof CutShort ? "cut-short" : "put-failed", cause)
    }
  }

  /** What it was before is not this page any more. */
  async function removeOld(visit: Visit<C>): Promise<void> {
    if (visit.why.startsWith("fwd=stale")) await remove(visit)
  }

  /** A copy that could not be removed is still judged by its stamp. */
  async function remove({ cache, key }: Visit<C>): Promise<void> {
    await quietly(() => guard.run(() => cache.delete(key)))
  }

  function neverStored(key: string): void {
    if (unstorable.add(key).size > MAX_UNSTORABLE) unstorable.clear()
  }

  /**
   * Tells the other isolates over the same cache that the page is being made, for as long as it is. Not atomic: two
   * that begin in the same instant both make it.
   */
  async function claimUntil({ cache, key }: Visit<C>, done: Promise<void>): Promise<void> {
    const claim = () => new Response("", { headers: { "cache-control": `max-age=${CLAIM_SECONDS}` } })
    await quietly(async () => {
      for (let since = performance.now(); performance.now() - since < HANGS_AFTER;) {
        await guard.run(() => cache.put(key + CLAIM, claim()))
        if (await settles(done, (CLAIM_SECONDS - 2) * SECOND)) break
      }
      await guard.run(() => cache.delete(key + CLAIM))
    })
  }

  function isClaimed(visit: Visit<C>): Promise<unknown> {
    return ask(visit, () => visit.cache.match(visit.key + CLAIM))
  }

  /** The page that another isolate is making, when it is there; undefined where none is, or it takes too long. */
  async function madeElsewhere(visit: Visit<C>): Promise<Response | undefined> {
    let wait = FIRST_LOOK
    for (let spent = 0; spent < CLAIM_PATIENCE && (await isClaimed(visit)); spent += wait) {
      // The cache has answered. It is not to be blamed for what waits for another isolate.
      visit.waited = 0
      await new Promise((resolve) => setTimeout(resolve, wait))
      const found = await find(visit, true)
      if (found) return found
      wait = Math.min(2 * wait, LONGEST_LOOK)
    }
    return undefined
  }

  /** Whether it is worth to wait for others that make the same page, and to have others wait. */
  function isWorthWaiting({ why, key }: Visit<C>): boolean {
    return why !== UNKNOWN && !unstorable.has(key)
  }

  /** What a page shows; undefined where that is not known. */
  async function tagsOf({ response, tags = [] }: Made, context: C): Promise<readonly string[] | undefined> {
    try {
      const asked = (await options.tags?.(context, response)) ?? []
      if (isList(asked) && isList(tags)) return [...asked, ...tags]
      throw new TypeError("tags must be a list of texts")
    } catch (cause) {
      warn(context, "tags-failed", cause)
      return undefined
    }
  }

  /** A response like the one that was made, which tells what happened, and is labelled for the cache in front. */
  function told(
    response: Response,
    { context, request }: Turn<C>,
    how: string,
    tags: readonly string[] | undefined,
    body: ReadableStream<Uint8Array> | null = response.body,
  ): Response {
    const copy = copyOf(response, body)
    if (!copy) return response
    const dropped = (tags && labels?.(copy.headers, valueOf(options.namespace, context), tags)) ?? []
    if (dropped.length > 0) tell({ code: "tags-dropped", dropped }, context, new URL(request.url).pathname)
    copy.headers.append("cache-status", `tidemark; ${how}`)
    return copy
  }

  function warn(context: C, code: EpochCacheWarning["code"], cause: unknown): void {
    tell({ code, cause }, context)
  }
}

/** Says it to whoever looks at the log, once a minute for each code; of dropped tags for each page. */
function toConsole(): (warning: EpochCacheWarning, context: unknown, page?: string) => void {
  const isDue = onceAMinute(Date.now)
  const tellDropped = droppedTeller()
  return ({ code, cause, dropped }, _, page = "a page") => {
    const words = typeof cause === "number" ? `status ${cause}` : wordsOf(cause)
    if (dropped) tellDropped(page, dropped)
    else if (isDue(code)) warnOf({ message: `${code}: ${words}` })
  }
}

/** Nothing is known of a page by an error, but where it says that there is none. */
export const isFailure = ({ status }: Response): boolean => status >= 400 && !GONE.includes(status)

/** What is made must not be kept: it shows what the key does not hold, or nothing at all. */
const isOnlyRead = <C>({ turn, page }: Visit<C>): boolean =>
  turn.request.method === "HEAD" || (turn.isDeaf === true && page.plain.isStripped)

/** Whether the visitor has left. Some runtimes do not tell. */
const isLeft = <C>({ turn }: Visit<C>): boolean =>
  (turn.request as { readonly signal?: AbortSignal }).signal?.aborted === true

const waitUntil = <C>({ turn }: Visit<C>, work: Promise<unknown>): void => turn.waitUntil?.(work)

/**
 * A response like another, with headers of its own: those of a framework cannot always be written, and are not ours to
 * write. Undefined where there can be none, as of one that opens a WebSocket.
 */
function copyOf(
  response: Response,
  body: BodyInit | null,
  headers?: Readonly<Record<string, string>>,
): Response | undefined {
  try {
    // Made of the other, as how its body is encoded is nowhere else to be had.
    const copy = new Response(body, response)
    const said = headers ?? (isDecoded(response) && Object.fromEntries(ownHeaders(response, copy.headers)))
    if (!said) return copy
    for (const name of Array.from(copy.headers.keys())) if (!(name in said)) copy.headers.delete(name)
    for (const [name, value] of Object.entries(said)) if (name !== "set-cookie") copy.headers.set(name, value)
    return copy
  } catch {
    return undefined
  }
}

/** Headers without those that are not true of the body any more. */
function ownHeaders(response: Response, headers: Headers, isRead?: boolean): Headers {
  const own = new Headers(headers)
  if (isDecoded(response, isRead)) for (const name of ["content-encoding", "content-length"]) own.delete(name)
  return own
}

/**
 * Lets work that needs nothing from outside come to its end, without waiting for what does. Whoever asks again at once
 * then finds a page that was there at once.
 */
async function soon(work: Promise<unknown>): Promise<void> {
  const state = { isOver: false }
  const end = () => {
    state.isOver = true
  }
  work.then(end, end)
  for (let turns = 0; turns < MAX_TURNS && !state.isOver; turns += 1) await Promise.resolve()
}
