import type { Stamp } from "../protocol/epoch.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { DAY, type Milliseconds, SECOND } from "../protocol/time.ts"
import { BoundedCalls, type Unstorage } from "./bounded-storage.ts"
import type { WaitUntil } from "./epochs.ts"
import { ascii, fromAscii, STEERING } from "./page.ts"
import { markOf, readOptions, type Stamped, staleFor } from "./stamped.ts"
import type { Labeller } from "./tag-header.ts"
import type { Tidemark } from "./tidemark.ts"

/**
 * `tidemark/nitro`: cached functions and handlers of Nitro 3, which are ocache's, under stamps. Nitro 2, and so Nuxt 3
 * and 4, have `tidemark/nuxt`.
 *
 * A `validate` of one's own that compares `entry.mtime` with an invalidation's time does not do: ocache sets `mtime`
 * when an entry is *written*, so what was read before an invalidation and written after it passes for fresh.
 *
 * A cached function that is called from within another, or from a cached handler, should have `swr` off: what it serves
 * while stale would be kept by the outer one, under a stamp that is newer.
 */

export type { Unstorage } from "./bounded-storage.ts"

type OrPromise<T> = T | Promise<T>

/** `stale`: it may be served while it is revalidated. */
type Usable = "fresh" | "stale"

/** As ocache keeps a value. */
export interface CacheEntry<T = any> {
  value?: T
  expires?: number
  mtime?: number
  integrity?: string
  /** Has it revalidated when it is next asked for, and served meanwhile where `swr` is on. */
  stale?: boolean
  maxAge?: number
  staleMaxAge?: number
  encoding?: "bytes" | "base64"
  payload?: "value" | "value.body"
  status?: "hit" | "stale" | "revalidated" | "miss"
}

/** As ocache has it. */
export interface CacheStorage {
  get<T = unknown>(key: string): T | null | Promise<T | null>
  set(key: string, value: unknown, options?: { ttl?: number }): void | Promise<void>
  maxEntryBytes?: number
  binary?: boolean
}

/** ocache's options that functions and handlers share. Times are in seconds. */
export interface SharedOptions<V, A extends unknown[]> {
  name?: string
  getKey?: (...args: A) => string | Promise<string>
  shouldInvalidateCache?: (...args: A) => boolean | Promise<boolean>
  shouldBypassCache?: (...args: A) => boolean | Promise<boolean>
  group?: string
  integrity?: any
  maxAge?: number
  /** Serves the old value while one revalidation runs, also after a soft invalidation. Default false. */
  swr?: boolean
  /** How long it may be served so, in seconds; after a soft invalidation counted from that. Default: no end. */
  staleMaxAge?: number
  getMaxAge?: (
    entry: CacheEntry<V>,
  ) => OrPromise<number | { maxAge?: number; staleMaxAge?: number } | undefined>
  maxResolveTime?: number
  base?: string | string[]
  waitUntil?: (promise: Promise<any>) => void
  onError?: (error: unknown) => void
}

/** ocache's options for functions. */
export interface FunctionOptions<T, A extends unknown[]> extends SharedOptions<T, A> {
  transform?: (entry: CacheEntry<T>, ...args: A) => any
  serialize?: (entry: CacheEntry<T>, ctx: { args: A }) => any
  payload?: "value.body"
  validate?: (entry: CacheEntry<T>, ctx: { args: A }) => boolean | Promise<boolean>
  storage?: CacheStorage | (() => CacheStorage)
}

export interface CachedFunction<T, A extends unknown[]> {
  (...args: A): Promise<T>
  resolveKeys: (...args: A) => Promise<string[]>
  invalidate: (...args: A) => Promise<void>
  expire: (...args: A) => Promise<void>
}

/** `defineCachedFunction`, as Nitro and ocache export it. */
export type DefineCachedFunction = <T, A extends unknown[]>(
  fn: (...args: A) => T | Promise<T>,
  options?: FunctionOptions<T, A>,
) => CachedFunction<T, A>

export interface EpochFunctionOptions<T, A extends unknown[]> extends FunctionOptions<T, A> {
  /** The reader of epochs; made once a process, not once a call. */
  readonly tidemark: Tidemark
  /** The namespace of the values. */
  readonly namespace: Namespace | ((...args: A) => Namespace)
  /** What a value depends on, known when it was made. Default: nothing but its namespace. */
  readonly tags?: (value: T, ...args: A) => OrPromise<readonly string[]>
  /** Calls the function itself, and keeps nothing, where it answers true; as `shouldBypassCache`. Default: never. */
  readonly bypass?: (...args: A) => OrPromise<boolean>
  /**
   * How long `storage` is waited for, in milliseconds, before it goes on without; ocache's `onError` is told of an
   * outage once. Default 2,000; 0 is refused.
   */
  readonly storageTimeout?: Milliseconds
}

/** A value that was just made, on its way to whoever waits for it. */
class Made {
  readonly value: unknown
  readonly mark: Stamped | undefined

  constructor(value: unknown, mark: Stamped | undefined) {
    this.value = value
    this.mark = mark
  }
}

/** What a call is answered with. Boxed, as ocache takes a `transform` that gives nothing for one that is not there. */
class Answer {
  readonly value: unknown

  constructor(value: unknown) {
    this.value = value
  }
}

/** One call of a cached function, which ocache knows by the list of its arguments. */
interface Call {
  /** From before the function ran, if it runs. */
  readonly stamp: Stamp | undefined
  /** The value is this call's own, and not that of another which it joined. */
  fills?: boolean
  /** What was judged last, and whether it may be served. */
  judged?: { readonly mark: Stamped | undefined; readonly usable: Usable | undefined }
}

/**
 * A cached function whose values are kept under their stamps: none is served as fresh that was invalidated since the
 * function *began*, also where the value came to the storage later, or from another process.
 *
 * After a soft invalidation the old value is served while one revalidation runs, where `swr` is on; after a hard one
 * never. The options are ocache's, and behave as they do there; the storage keeps the function's own values.
 *
 * @throws {TypeError} when `define` is not ocache's, as in Nitro 2 and in a Nitro 3 before it had ocache
 * @throws {RangeError} when `storageTimeout` is out of range
 * @example
 *
 *     export const getPost = defineEpochCachedFunction(
 *       defineCachedFunction,
 *       (id: string) => cms.post(id),
 *       { tidemark, namespace: "blog", tags: (post) => [`post-${post.id}`], name: "post", maxAge: 3600, swr: true },
 *     )
 */
export function defineEpochCachedFunction<T, A extends unknown[]>(
  define: DefineCachedFunction,
  fn: (...args: A) => T | Promise<T>,
  options: EpochFunctionOptions<T, A>,
): CachedFunction<T, A> {
  const { tidemark, namespace, tags, bypass, storageTimeout, ...own } = options
  const { storage } = own
  const bounded = new BoundedCalls(storageTimeout)
  const calls = new WeakMap<readonly unknown[], Call>()
  const repeats = new WeakMap<Made, Promise<Made>>()
  const how = readOptions(own.waitUntil)
  const namespaceOf = (args: A) => (typeof namespace === "function" ? namespace(...args) : namespace)
  const judge = async (mark: unknown, args: A, entry?: CacheEntry) =>
    usableFor(await staleFor(tidemark, namespaceOf(args), mark, how), windowOf(own, entry))

  async function serialize(entry: CacheEntry<T>, ctx: { args: A }): Promise<Made> {
    const call = calls.get(ctx.args)
    if (call) call.fills = true
    // Before the user's own `serialize`, which may use the value up.
    const labels = (await tags?.(entry.value as T, ...ctx.args)) ?? []
    const value = own.serialize ? await own.serialize(entry, ctx) : entry.value
    return new Made(asBytes(value), markOf(call?.stamp, labels))
  }

  /** ocache asks this of what it found, of what it is about to store, and of what it would serve while stale. */
  async function validate(entry: CacheEntry & { tidemark?: unknown }, ctx: { args: A }): Promise<boolean> {
    const { args } = ctx
    let call = calls.get(args)
    if (entry.value instanceof Made) {
      // One that joined another's fill stores nothing, and is judged when it is answered.
      if (!call?.fills) return true
      const { value, mark } = entry.value
      entry.value = value
      entry.tidemark = mark
    }
    const mark = entry.tidemark as Stamped | undefined
    if (!call || call.judged?.mark !== mark || !call.judged) {
      // The first time is before the function runs; together, so that they share one look-up.
      const [{ stamp }, usable] = await Promise.all([
        call ?? tidemark.begin(namespaceOf(args), how),
        judge(mark, args, entry),
      ])
      call = Object.assign(call ?? { stamp }, { judged: { mark, usable } })
      calls.set(args, call)
    }
    if (!call.judged?.usable) return false
    if (call.judged.usable === "stale") entry.stale = true
    return own.validate ? own.validate(entry, ctx) : entry.value !== undefined
  }

  /** Calls the function anew, for those whose value was overtaken by an invalidation while they waited for it. */
  async function repeat(args: A): Promise<Made> {
    const { stamp } = await tidemark.begin(namespaceOf(args), how)
    calls.set(args, { stamp })
    return serialize({ value: await fn(...args), mtime: Date.now() }, { args })
  }

  /**
   * What a call gets that joined another's fill: that fill began before the call did, perhaps before an invalidation.
   * Those that it is too old for share one more; whoever cannot use that either makes their own.
   */
  async function settle(fill: Made, args: A): Promise<unknown> {
    if (await judge(fill.mark, args)) return fill.value
    const again = repeats.get(fill) ?? repeat(args)
    repeats.set(fill, again)
    const second = await again
    return (await judge(second.mark, args)) ? second.value : (await repeat(args)).value
  }

  async function transform(entry: CacheEntry, ...args: A): Promise<Answer> {
    if (entry.value instanceof Made) entry.value = await settle(entry.value, args)
    const { value } = entry
    return new Answer((await own.transform?.(entry, ...args)) ?? value)
  }

  const { transform: ownTransform, serialize: ownSerialize, validate: ownValidate } = own
  const cacheOptions: FunctionOptions<T, A> & { readonly epochs: unknown } = {
    ...own,
    // What changes the values belongs into ocache's hash of the options, as it does without us.
    epochs: { tags, ownTransform, ownSerialize, ownValidate },
    serialize,
    validate,
    transform,
    ...(storage && { storage: () => boundedStorage(storageOf(storage), bounded) }),
    shouldBypassCache: async (...args) =>
      (await own.shouldBypassCache?.(...args)) === true ||
      (await bypass?.(...args)) === true ||
      (await tidemark.begin(namespaceOf(args), how)).stamp === undefined,
  }
  const cached = define<T, A>(fn, cacheOptions)
  const call = async (...args: A): Promise<T> => {
    const answer: unknown = await cached(...args)
    return (answer instanceof Answer ? answer.value : answer) as T
  }
  const { resolveKeys, invalidate, expire } = cached as Partial<CachedFunction<T, A>>
  if (!resolveKeys || !invalidate || !expire) throw notOcache("defineEpochCachedFunction")
  return Object.assign(call, { resolveKeys, invalidate, expire })
}

/** What ocache needs of a request's event; h3's has more. */
export interface HTTPEvent {
  req: Request & { waitUntil?: (promise: Promise<any>) => void }
  url?: URL
}

/** ocache's options for handlers. */
export interface HandlerOptions<E extends HTTPEvent> extends SharedOptions<Response, [E]> {
  headersOnly?: boolean
  varies?: string[] | readonly string[]
  allowQuery?: boolean | string[] | readonly string[]
  allowCookies?: string[] | readonly string[]
  allowAuthorization?: boolean
  sendCacheControl?: boolean
  cacheStatusHeader?: boolean | string
  stream?: boolean
  maxBodySize?: number
  shouldCache?: (entry: StoredResponse) => boolean | Promise<boolean>
  storage?: CacheStorage | (() => CacheStorage)
}

/** As ocache keeps a response. */
export interface StoredResponse {
  status: number
  statusText: string | undefined
  headers: Record<string, string>
  body: string | Uint8Array | undefined
  base64?: boolean
}

export interface EpochHandlerOptions<E extends HTTPEvent> extends Omit<HandlerOptions<E>, "storage"> {
  /** The reader of epochs; made once a process, not once a request. */
  readonly tidemark: Tidemark
  /** The namespace of the responses. */
  readonly namespace: Namespace
  /** What a response depends on, known when it was made. Its url is asked by itself. Default: none. */
  readonly tags?: (value: unknown, event: E) => OrPromise<readonly string[]>
  /** Where responses are kept, in ocache's shape or unstorage's: in Nitro `() => useStorage()`. */
  readonly storage: CacheStorage | Unstorage | (() => CacheStorage | Unstorage)
  /**
   * Labels responses for the cache in front, so that it can be purged by their tags: `labelsFor(cloudflare)` of
   * `tidemark/tags`. Default: none, which is right where no cache is in front.
   */
  readonly labels?: Labeller
  /**
   * Lets a request pass as if it were not cached, where it answers true: for a draft, or for somebody who is logged in.
   * As `shouldBypassCache`. Default: never.
   */
  readonly bypass?: (event: E) => OrPromise<boolean>
  /**
   * How long `storage` is waited for, in milliseconds, before it goes on without; ocache's `onError` is told of an
   * outage once. Default 2,000; 0 is refused.
   */
  readonly storageTimeout?: Milliseconds
  /**
   * Has ocache tell browsers and caches in front to keep a response for `maxAge`, and they do so though it is
   * invalidated. Default: browsers ask each time, and the cache in front keeps it where there are `labels`.
   */
  readonly sendCacheControl?: boolean
  /** As ocache has it; needed only outside Nitro, where a handler answers other than with text or a `Response`. */
  readonly toResponse?: (value: unknown, event: E) => Response | Promise<Response>
}

type Managed = "resolveKeys" | "invalidate" | "expire"

/** With ocache's own methods, where `define` gives them. */
export type EpochCachedHandler<E, R> = ((event: E) => Promise<Response>) & Pick<R, Extract<keyof R, Managed>>

/** How long a cache in front is told to keep a response at most, in seconds: as long as `maxCacheTtl`. */
const MAX_SHARED = (30 * DAY) / SECOND

/** The header in which a stored response carries its mark. Never sent on. */
const ENTRY = "tidemark-entry"

/**
 * A cached handler whose responses are kept under their stamps, as `defineEpochCachedFunction` keeps values.
 *
 * What is served while it is revalidated goes out as `no-store`: a cache in front that has just been purged would take
 * the old page for the new one. Headers and cookies that others prepared for the visitor on `event.res` are not kept,
 * and are sent along with what is.
 *
 * @throws {TypeError} when `define` is that of Nitro 2; with the first request, when it is not ocache's otherwise
 * @throws {RangeError} when `storageTimeout` is out of range
 * @example
 *
 *     export default defineEpochCachedHandler(defineCachedHandler, (event) => render(event), {
 *       tidemark, namespace: "blog", storage: () => useStorage(), maxAge: 3600, swr: true,
 *     })
 */
export function defineEpochCachedHandler<E extends HTTPEvent, R extends (event: E) => unknown>(
  define: (handler: (event: E) => unknown, options?: never) => R,
  handler: (event: E) => unknown,
  options: EpochHandlerOptions<E>,
): EpochCachedHandler<E, R> {
  const { tidemark, namespace, tags, storage, toResponse, labels, bypass, storageTimeout, ...own } = options
  const bounded = new BoundedCalls(storageTimeout)
  /** What a request made itself, by its mark: not what was kept, and not what another made. */
  const filled = new WeakMap<E, string>()
  const bypassing = new WeakSet<E>()
  const waitUntilOf = (event: E) => own.waitUntil ?? event.req.waitUntil?.bind(event.req)
  const judge = async (mark: unknown, waitUntil?: WaitUntil, entry?: CacheEntry) =>
    usableFor(await staleFor(tidemark, namespace, mark, readOptions(waitUntil)), windowOf(own, entry))

  /** Whether ocache asked for the storage, which comes first: another cache would not know the option. */
  let isOcache = own.headersOnly === true

  async function fill(event: E): Promise<unknown> {
    if (!isOcache && !bypassing.has(event)) throw notOcache("defineEpochCachedHandler")
    const { stamp } = await tidemark.begin(namespace, readOptions(waitUntilOf(event)))
    const value = await handler(event)
    const asked = (await tags?.(value, event)) ?? []
    const mark = markOf(stamp, asked, [event.url?.href ?? event.req.url])
    const text = mark && ascii(mark)
    if (text) filled.set(event, text)
    const put = (headers: Headers) => {
      if (text) headers.set(ENTRY, text)
      labels?.(headers, namespace, asked)
    }
    const prepared = (event as { res?: { headers?: unknown } }).res?.headers
    if (!toResponse && !(value instanceof Response) && prepared instanceof Headers) {
      // h3 makes the response, with the headers that were prepared for it.
      put(prepared)
      return value
    }
    const made = toResponse ? await toResponse(value, event) : asResponse(value)
    if (!(made instanceof Response)) return made
    // What was fetched elsewhere has headers that cannot be set.
    const response = new Response(made.body, made)
    put(response.headers)
    return response
  }

  const cached = define(fill, {
    ...own,
    epochs: { handler, tags, toResponse },
    // Of what h3 says of a response here, browsers keep for `maxAge` what may be invalidated at once.
    ...(own.sendCacheControl === undefined && { sendCacheControl: false, handleCacheHeaders: undefined }),
    storage: () => {
      isOcache = true
      const given = boundedStorage(storageOf(storage), bounded)
      return judgedStorage(given, (mark, entry) => judge(mark, own.waitUntil, entry))
    },
    shouldBypassCache: (event: E) => bypassing.has(event),
  } as never)
  if ("__is_handler__" in cached) throw notOcache("defineEpochCachedHandler")

  async function isBypassed(event: E): Promise<boolean> {
    const { method, headers } = event.req
    return (
      !["GET", "HEAD"].includes(method) ||
      headers.has("range") ||
      (await own.shouldBypassCache?.(event)) === true ||
      (await bypass?.(event)) === true ||
      (await tidemark.begin(namespace, readOptions(waitUntilOf(event)))).stamp === undefined
    )
  }

  /** Says what is to be kept by whom, where the handler says nothing; of what is stale, that nobody is to keep it. */
  function steer({ headers, status }: Response, usable: Usable): void {
    if (usable === "stale") {
      for (const name of [...headers.keys()].filter((key) => STEERING.test(key))) headers.delete(name)
      headers.set("cache-control", "no-store")
    } else if (own.sendCacheControl === undefined && status === 200 && !headers.has("set-cookie")) {
      const shared = labels ? `, s-maxage=${Math.min(own.maxAge ?? 1, MAX_SHARED)}` : ""
      if (!headers.has("cache-control"))
        headers.set("cache-control", `public, max-age=0, must-revalidate${shared}`)
    }
  }

  async function serve(event: E): Promise<Response> {
    if (!bypassing.has(event) && (await isBypassed(event))) bypassing.add(event)
    const isPassed = bypassing.has(event)
    const prepared = isPassed ? [] : takePrepared(event)
    let response: Response
    try {
      response = (await cached(event)) as Response
    } catch (error) {
      putBack(event, prepared)
      throw error
    }
    const text = response.headers?.get(ENTRY) ?? undefined
    if (text !== undefined) {
      response.headers.delete(ENTRY)
      const usable = filled.get(event) === text ? "fresh" : await judge(parse(text), waitUntilOf(event))
      if (!usable) {
        // Another's fill, which an invalidation overtook while this request waited for it.
        void response.body?.cancel().catch(() => undefined)
        bypassing.add(event)
        putBack(event, prepared)
        return serve(event)
      }
      if (!isPassed) steer(response, usable)
    }
    return withPrepared(response, prepared)
  }

  const methods = cached as Partial<Record<Managed, unknown>>
  const { resolveKeys, invalidate, expire } = methods
  return Object.assign(
    serve,
    definedOnly({ resolveKeys, invalidate, expire }),
  ) as unknown as EpochCachedHandler<E, R>
}

type Prepared = readonly (readonly [name: string, value: string])[]

/** Takes what others prepared for the visitor off h3's event, before it gets into what is kept for everybody. */
function takePrepared(event: HTTPEvent): Prepared {
  const { headers } = (event as { res?: { headers?: unknown } }).res ?? {}
  if (!(headers instanceof Headers)) return []
  const prepared = [...headers]
  for (const [name] of prepared) headers.delete(name)
  return prepared
}

function putBack(event: HTTPEvent, prepared: Prepared): void {
  const { headers } = (event as { res?: { headers?: unknown } }).res ?? {}
  if (headers instanceof Headers) for (const [name, value] of prepared) headers.append(name, value)
}

/**
 * What was prepared for the visitor wins over what is kept; but what is said of the body is said of this one, and what is
 * stale stays `no-store`. Whose cookies go along with it, a cache in front must not show to others.
 */
function withPrepared(response: Response, prepared: Prepared): Response {
  const { headers } = response
  const isStale = headers.get("cache-control") === "no-store"
  for (const [name, value] of prepared) {
    const isSettled = (name.startsWith("content-") && headers.has(name)) || (isStale && STEERING.test(name))
    if (name === "set-cookie" || name === "vary") headers.append(name, value)
    else if (!isSettled) headers.set(name, value)
  }
  if (!isStale && prepared.some(([name]) => name === "set-cookie")) {
    for (const name of [...headers.keys()].filter((key) => STEERING.test(key))) headers.delete(name)
    headers.set("cache-control", "private, no-cache")
  }
  return response
}

/** What is given in place of ocache's, in the words of whoever has another. */
const notOcache = (name: string): TypeError =>
  new TypeError(
    `${name} needs what Nitro 3 exports since it has ocache, or ocache itself: Nuxt 3 and 4 (Nitro 2) have tidemark/nuxt`,
  )

/** A storage that is not waited for without bound. */
const boundedStorage = (storage: CacheStorage, calls: BoundedCalls): CacheStorage => ({
  ...definedOnly({ binary: storage.binary, maxEntryBytes: storage.maxEntryBytes }),
  get: async <T>(key: string) => (await calls.run("get", () => storage.get<T>(key))) ?? null,
  set: async (key, value, options) => {
    await calls.run("set", () => storage.set(key, value, options))
  },
})

/** A storage that gives only what may be served, and says of what was softly invalidated that it is stale. */
function judgedStorage(
  storage: CacheStorage,
  judge: (mark: unknown, entry: CacheEntry) => Promise<Usable | undefined>,
): CacheStorage {
  return {
    ...definedOnly({ binary: storage.binary, maxEntryBytes: storage.maxEntryBytes }),
    async get<T>(key: string) {
      const entry = (await storage.get(key)) as CacheEntry<StoredResponse> | null
      const usable = entry && (await judge(parse(entry.value?.headers?.[ENTRY]), entry))
      if (!usable) return null
      return (usable === "stale" ? { ...entry, stale: true } : entry) as T
    },
    set: (key, value, options) => storage.set(key, value, options),
  }
}

function storageOf(given: EpochHandlerOptions<HTTPEvent>["storage"]): CacheStorage {
  const storage = typeof given === "function" ? given() : given
  if (!("getItem" in storage)) return storage
  return {
    get: <T>(key: string) => storage.getItem(key) as Promise<T | null>,
    set: (key, value, options) =>
      storage.setItem(key, value, options?.ttl === undefined ? undefined : { ttl: options.ttl }),
  }
}

/** Whether what is stale for so long may be served. */
const usableFor = (stale: Milliseconds, window: Milliseconds): Usable | undefined =>
  stale < 0 ? "fresh" : stale < window ? "stale" : undefined

/** How long after a soft invalidation the old value may be served, in milliseconds. */
const windowOf = (
  { swr, staleMaxAge }: { readonly swr?: boolean; readonly staleMaxAge?: number },
  entry?: CacheEntry,
): number => (swr ? (entry?.staleMaxAge ?? staleMaxAge ?? Infinity) * SECOND : 0)

/** ocache stores bytes as bytes, if it is told by their type; it cannot see them in a box. */
function asBytes(value: unknown): unknown {
  if (value instanceof Uint8Array) return value
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
  return value instanceof ArrayBuffer ? new Uint8Array(value) : value
}

/** Text, as ocache makes a response of it. What else it would make one of, or refuse, is left to it. */
const asResponse = (value: unknown): unknown =>
  ["string", "number", "boolean", "bigint"].includes(typeof value) ? new Response(String(value)) : value

function parse(text: unknown): unknown {
  try {
    return typeof text === "string" ? fromAscii(text) : undefined
  } catch {
    return undefined
  }
}

function definedOnly<T extends object>(options: T): { [name in keyof T]?: Exclude<T[name], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as never
}
