import type { Stamp } from "../protocol/epoch.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import { BackOff } from "./back-off.ts"
import { BoundedCalls, type Unstorage } from "./bounded-storage.ts"
import { definedOnly, type HTTPEvent, windowOf } from "./nitro-event.ts"
import type { Handling } from "./nitro-handler.ts"
import type { KeyOptions } from "./page-key.ts"
import { markOf, readOptions, type Stamped, staleFor, type Usable, usableFor } from "./stamped.ts"
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
export type { HTTPEvent } from "./nitro-event.ts"

type OrPromise<T> = T | Promise<T>

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
  /** Changes with each deploy: values of another version are not found. Default: none. */
  readonly version?: string
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
  const { tidemark, namespace, tags, bypass, storageTimeout, version, ...own } = options
  const { storage } = own
  const bounded = new BoundedCalls(storageTimeout)
  const backOff = new BackOff()
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
    // ocache itself would try again at each call.
    if (await isResting(entry, args)) Object.assign(entry, { stale: undefined, mtime: Date.now() })
    return own.validate ? own.validate(entry, ctx) : entry.value !== undefined
  }

  /** Whether what ocache would make once more could not be made a short while ago. */
  async function isResting(entry: CacheEntry, args: A): Promise<boolean> {
    const expires = (entry.mtime ?? 0) + (entry.maxAge ?? own.maxAge ?? 1) * SECOND
    if (!own.swr || (!entry.stale && Date.now() <= expires)) return false
    return backOff.isResting(await keyOf(args))
  }

  async function keyOf(args: A): Promise<string> {
    return (await cached.resolveKeys(...args)).join()
  }

  async function run(...args: A): Promise<T> {
    try {
      const value = await fn(...args)
      backOff.succeeded(await keyOf(args))
      return value
    } catch (error) {
      backOff.failed(await keyOf(args))
      throw error
    }
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
    ...based(own, version),
    // What changes the values belongs into ocache's hash of the options, as it does without us.
    epochs: { fn, tags, ownTransform, ownSerialize, ownValidate },
    serialize,
    validate,
    transform,
    ...(storage && { storage: () => boundedStorage(storageOf(storage), bounded) }),
    shouldBypassCache: async (...args) =>
      (await own.shouldBypassCache?.(...args)) === true ||
      (await bypass?.(...args)) === true ||
      (await tidemark.begin(namespaceOf(args), how)).stamp === undefined,
  }
  // By the name of the function ocache tells them apart where they are given none.
  const cached = define<T, A>(Object.defineProperty(run, "name", { value: fn.name }), cacheOptions)
  const get = async (...args: A): Promise<T> => {
    const answer: unknown = await cached(...args)
    return (answer instanceof Answer ? answer.value : answer) as T
  }
  const { resolveKeys, invalidate, expire } = cached as Partial<CachedFunction<T, A>>
  if (!resolveKeys || !invalidate || !expire) throw notOcache("defineEpochCachedFunction")
  return Object.assign(get, { resolveKeys, invalidate, expire })
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

export interface EpochHandlerOptions<E extends HTTPEvent>
  extends Omit<HandlerOptions<E>, "storage">, KeyOptions {
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
  /** As ocache has it. What is streamed is not looked through for nonces, nor held to its `Content-Length`. */
  readonly stream?: boolean
}

type Managed = "resolveKeys" | "invalidate" | "expire"

/** With ocache's own methods, where `define` gives them. */
export type EpochCachedHandler<E, R> = ((event: E) => Promise<Response>) & Pick<R, Extract<keyof R, Managed>>

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
  const { storage, storageTimeout, tags, toResponse, version, ...rest } = options
  const { vary = [], query, varies = [], getKey, sendCacheControl } = rest
  const varied = Array.isArray(vary) ? vary : Object.keys(vary)
  const bounded = new BoundedCalls(storageTimeout)
  let handling: Handling<E> | undefined
  /** Whether ocache asked for the storage, which comes first: another cache would not know the option. */
  let isOcache = false

  /** What answers requests is loaded with the first of them: functions alone have no need of it. */
  async function load(): Promise<Handling<E>> {
    const { createHandling } = await import("./nitro-handler.ts")
    return (handling ??= createHandling(handler, options, cached))
  }

  async function fill(event: E): Promise<unknown> {
    const { isPassed, fill: make } = await load()
    if (!isOcache && !isPassed(event)) throw notOcache("defineEpochCachedHandler")
    return make(event)
  }

  /** A storage that gives only what may be served. */
  function judgedStorage(given: CacheStorage): CacheStorage {
    return {
      ...given,
      get: async <T>(key: string) => (await load()).judged(await given.get(key)) as T | null,
    }
  }

  const cached = define(fill, {
    ...rest,
    ...based(rest, version),
    // ocache sees `fill` alone, by whose name all handlers would share one key for each path.
    name: rest.name || handler.name || anonymous(handler),
    epochs: { handler, tags, toResponse },
    varies: [...varies, ...varied],
    ...(query && { allowQuery: true }),
    ...(getKey && { getKey: async (event: E) => (await load()).keyOf(event) }),
    // Of what h3 says of a response here, browsers keep for `maxAge` what may be invalidated at once.
    ...(sendCacheControl === undefined && { sendCacheControl: false, handleCacheHeaders: undefined }),
    storage: () => {
      isOcache = true
      return judgedStorage(boundedStorage(storageOf(storage), bounded))
    },
    shouldBypassCache: async (event: E) => (await load()).isPassed(event),
  } as never)
  if ("__is_handler__" in cached) throw notOcache("defineEpochCachedHandler")

  const { resolveKeys, invalidate, expire } = cached as Partial<
    Record<Managed, (event: E) => Promise<unknown>>
  >
  const managed = Object.entries(definedOnly({ resolveKeys, invalidate, expire })).map(
    ([name, run]) => [name, async (event: E) => run?.((await load()).eventForFill(event))] as const,
  )
  const serve = async (event: E): Promise<Response> => (await load()).serve(event)
  return Object.assign(serve, Object.fromEntries(managed)) as unknown as EpochCachedHandler<E, R>
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

function storageOf(given: EpochHandlerOptions<HTTPEvent>["storage"]): CacheStorage {
  const storage = typeof given === "function" ? given() : given
  if (!("getItem" in storage)) return storage
  return {
    get: <T>(key: string) => storage.getItem(key) as Promise<T | null>,
    set: (key, value, options) =>
      storage.setItem(key, value, options?.ttl === undefined ? undefined : { ttl: options.ttl }),
  }
}

/** What ocache keeps entries under, with the version in it. */
const based = ({ base = "/cache" }: { readonly base?: string | string[] }, version?: string) =>
  version ? { base: [base].flat().map((one) => `${one}:${version}`) } : {}

/** A name by its source, as ocache gives it to what has none. */
function anonymous(handler: unknown): string {
  let hash = 0
  for (const character of String(handler))
    hash = Math.trunc((hash * 31 + (character.codePointAt(0) ?? 0)) % 2 ** 40)
  return `anon_${hash.toString(36)}`
}

/** ocache stores bytes as bytes, if it is told by their type; it cannot see them in a box. */
function asBytes(value: unknown): unknown {
  if (value instanceof Uint8Array) return value
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
  return value instanceof ArrayBuffer ? new Uint8Array(value) : value
}
