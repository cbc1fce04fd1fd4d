import { formatStamp, parseStamp, type Stamp } from "../protocol/epoch.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { SECOND } from "../protocol/time.ts"
import type { WaitUntil } from "./epochs.ts"
import { ascii, dependsOn, fromAscii } from "./page.ts"
import type { Labeller } from "./tag-header.ts"
import type { ReadOptions, Tidemark } from "./tidemark.ts"

/**
 * `tidemark/nitro`: cached functions and handlers of Nitro 3, which are ocache's, under stamps.
 *
 * A `validate` of one's own that compares `entry.mtime` with an invalidation's time does not do: ocache sets `mtime`
 * when an entry is *written*, so what was read before an invalidation and written after it passes for fresh.
 *
 * A cached function that is called from within another, or from a cached handler, should have `swr` off: what it serves
 * while stale would be kept by the outer one, under a stamp that is newer.
 */

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
}

/** What is kept with a value: the stamp under which it was made, and what it depends on. */
interface Stamped {
  readonly stamp: string
  readonly tags: readonly string[]
  readonly urls: readonly string[]
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
  const { tidemark, namespace, tags, ...own } = options
  const calls = new WeakMap<readonly unknown[], Call>()
  const repeats = new WeakMap<Made, Promise<Made>>()
  const how = readOptions(own.waitUntil)
  const namespaceOf = (args: A) => (typeof namespace === "function" ? namespace(...args) : namespace)
  const judge = (mark: unknown, args: A, entry?: CacheEntry) =>
    judgeMark(tidemark, namespaceOf(args), mark, windowOf(own, entry), how)

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
    shouldBypassCache: async (...args) =>
      (await own.shouldBypassCache?.(...args)) === true ||
      (await tidemark.begin(namespaceOf(args), how)).stamp === undefined,
  }
  const cached = define<T, A>(fn, cacheOptions)
  const call = async (...args: A): Promise<T> => {
    const answer: unknown = await cached(...args)
    return (answer instanceof Answer ? answer.value : answer) as T
  }
  const { resolveKeys, invalidate, expire } = cached
  return Object.assign(call, { resolveKeys, invalidate, expire })
}

/** What ocache needs of a request's event; h3's has more. */
export interface HTTPEvent {
  req: Request & { waitUntil?: (promise: Promise<any>) => void }
  url?: URL
}

/** As much of unstorage as is needed; Nitro's `useStorage()` gives one. */
export interface Unstorage {
  getItem(key: string): unknown
  setItem(key: string, value: any, options?: { ttl?: number }): Promise<void>
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
  /** As ocache has it; needed only outside Nitro, where a handler answers other than with text or a `Response`. */
  readonly toResponse?: (value: unknown, event: E) => Response | Promise<Response>
}

type Managed = "resolveKeys" | "invalidate" | "expire"

/** With ocache's own methods, where `define` gives them. */
export type EpochCachedHandler<E, R> = ((event: E) => Promise<Response>) & Pick<R, Extract<keyof R, Managed>>

/** The header in which a stored response carries its mark. Never sent on. */
const ENTRY = "tidemark-entry"

/**
 * A cached handler whose responses are kept under their stamps, as `defineEpochCachedFunction` keeps values.
 *
 * What is served while it is revalidated goes out as `no-store`: a cache in front that has just been purged would take
 * the old page for the new one.
 *
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
  const { tidemark, namespace, tags, storage, toResponse, labels, ...own } = options
  /** What a request made itself, by its mark: not what was kept, and not what another made. */
  const filled = new WeakMap<E, string>()
  const bypassing = new WeakSet<E>()
  const waitUntilOf = (event: E) => own.waitUntil ?? event.req.waitUntil?.bind(event.req)
  const judge = (mark: unknown, waitUntil?: WaitUntil, entry?: CacheEntry) =>
    judgeMark(tidemark, namespace, mark, windowOf(own, entry), readOptions(waitUntil))

  async function fill(event: E): Promise<unknown> {
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
    storage: () => judgedStorage(storageOf(storage), (mark, entry) => judge(mark, own.waitUntil, entry)),
    shouldBypassCache: async (event: E) =>
      bypassing.has(event) ||
      (await own.shouldBypassCache?.(event)) === true ||
      (await tidemark.begin(namespace, readOptions(waitUntilOf(event)))).stamp === undefined,
  } as never)

  async function serve(event: E): Promise<Response> {
    const response = (await cached(event)) as Response
    const text = response.headers?.get(ENTRY)
    if (text === null || text === undefined) return response
    response.headers.delete(ENTRY)
    if (filled.get(event) === text) return response
    const usable = await judge(parse(text), waitUntilOf(event))
    if (usable === "fresh") return response
    if (usable === "stale") {
      const steering = [...response.headers.keys()].filter((name) =>
        /cache-control$|^expires$|^surrogate-c/.test(name),
      )
      for (const name of steering) response.headers.delete(name)
      response.headers.set("cache-control", "no-store")
      return response
    }
    // Another's fill, which an invalidation overtook while this request waited for it.
    void response.body?.cancel().catch(() => undefined)
    bypassing.add(event)
    return serve(event)
  }

  const methods = cached as Partial<Record<Managed, unknown>>
  const { resolveKeys, invalidate, expire } = methods
  return Object.assign(
    serve,
    definedOnly({ resolveKeys, invalidate, expire }),
  ) as unknown as EpochCachedHandler<E, R>
}

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

type Usable = "fresh" | "stale"

/** Whether something of this mark may be served; a mark that is none may not. */
async function judgeMark(
  tidemark: Tidemark,
  namespace: Namespace,
  mark: unknown,
  window: number,
  how: ReadOptions,
): Promise<Usable | undefined> {
  const { stamp } = (mark ?? {}) as { readonly stamp?: unknown }
  const parsed = typeof stamp === "string" ? parseStamp(stamp) : undefined
  const judgement = await tidemark.judge(parsed, namespace, dependsOn(mark), how)
  if (judgement.verdict === "fresh") return "fresh"
  return judgement.verdict === "stale" && judgement.staleFor < window ? "stale" : undefined
}

/** How long after a soft invalidation the old value may be served, in milliseconds. */
const windowOf = (
  { swr, staleMaxAge }: { readonly swr?: boolean; readonly staleMaxAge?: number },
  entry?: CacheEntry,
): number => (swr ? (entry?.staleMaxAge ?? staleMaxAge ?? Infinity) * SECOND : 0)

const markOf = (
  stamp: Stamp | undefined,
  tags: readonly string[],
  urls: readonly string[] = [],
): Stamped | undefined => stamp && { stamp: formatStamp(stamp), tags, urls }

const readOptions = (waitUntil: WaitUntil | undefined): ReadOptions => (waitUntil ? { waitUntil } : {})

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
