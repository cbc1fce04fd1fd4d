/**
 * A Worker that drives OpenNext's own caches, and ours, as OpenNext's server does: each page request within a request
 * context of OpenNext, by the cache handler that it gives Next.js. Every call of a binding is counted.
 */
import { AsyncLocalStorage } from "node:async_hooks"
import Cache from "@opennextjs/aws/adapters/cache.js"
import type { IncrementalCacheValue } from "@opennextjs/aws/types/cache.js"
import { runWithOpenNextRequestContext } from "@opennextjs/aws/utils/promise.js"
import kvCache from "@opennextjs/cloudflare/overrides/incremental-cache/kv-incremental-cache"
import d1TagCache from "@opennextjs/cloudflare/overrides/tag-cache/d1-next-tag-cache"
import shardedTagCache from "@opennextjs/cloudflare/overrides/tag-cache/do-sharded-tag-cache"
import kvTagCache from "@opennextjs/cloudflare/overrides/tag-cache/kv-next-tag-cache"
import { type EpochStore } from "../../../client/epoch-store.ts"
import { workerStore } from "../../../client/store.ts"
import { Clock, ModelStore } from "../../../client/testing/model-store.ts"
import { createOpenNextCaches } from "../../../client/opennext.ts"
import { createTidemark } from "../../../client/tidemark.ts"

export { DOShardedTagCache } from "@opennextjs/cloudflare/durable-objects/sharded-tag-cache"

/** `tidemark` with the incremental cache that carries stamps; `unfenced` is its tag cache alone. */
export type Kind = "d1" | "do" | "kv" | "tidemark" | "unfenced"

export type Order =
  /** The in-flight race, so many times: how often the old page was served afterwards. */
  | { readonly do: "race"; readonly kind: Kind; readonly tries: number }
  /** A page with so many tags, one of which is revalidated: whether it is still served. */
  | { readonly do: "tags"; readonly kind: Kind; readonly tags: number }
  /** Stores pages. */
  | { readonly do: "fill"; readonly kind: Kind; readonly pages: Readonly<Record<string, readonly string[]>> }
  /** Asks for pages, each in a request of its own; `every` milliseconds pass on the reader's clock with each. */
  | { readonly do: "visit"; readonly kind: Kind; readonly pages: readonly string[]; readonly every: number }
  | { readonly do: "revalidate"; readonly kind: Kind; readonly tags: readonly string[] }

/** Calls of bindings, without those of the incremental cache: it is read once a page whatever judges it. */
export interface Counts {
  readonly d1: number
  readonly do: number
  readonly kv: number
  readonly fetch: number
}

export interface Report {
  /** Pages that were served. */
  readonly served: number
  readonly counts: Counts
}

interface Env {
  readonly NEXT_TAG_CACHE_D1: Database
  readonly NEXT_TAG_CACHE_DO_SHARDED: Shards
  readonly NEXT_TAG_CACHE_KV: Record<string, (...args: unknown[]) => unknown>
  readonly NEXT_INC_CACHE_KV: unknown
  /** Where Tidemark's Worker answers; without it, epochs are kept here. */
  readonly TIDEMARK_URL?: string
  readonly TIDEMARK_TOKEN?: string
}

interface Statement {
  bind(...values: unknown[]): Statement
  raw(): Promise<unknown>
}

interface Database {
  prepare(query: string): Statement
  batch(statements: readonly Statement[]): Promise<unknown>
  exec(query: string): Promise<unknown>
}

interface Shards {
  idFromName(name: string): unknown
  get(id: unknown, options?: unknown): object
}

const globals = globalThis as unknown as Record<string | symbol, unknown>
const counts = { d1: 0, do: 0, kv: 0, fetch: 0 }
const clock = new Clock()
let ahead = 0

globals["__openNextAls"] = new AsyncLocalStorage()
globals["openNextConfig"] = { dangerous: {} }
globals["nextVersion"] = "16.4.6"

function countedDatabase(database: Database): Database {
  const own = new WeakMap<Statement, Statement>()
  const counted = (statement: Statement): Statement => {
    const wrapped: Statement = {
      bind: (...values) => counted(statement.bind(...values)),
      raw() {
        counts.d1 += 1
        return statement.raw()
      },
    }
    own.set(wrapped, statement)
    return wrapped
  }
  return {
    prepare: (query) => counted(database.prepare(query)),
    batch(statements) {
      counts.d1 += 1
      return database.batch(statements.map((statement) => own.get(statement) ?? statement))
    },
    exec: (query) => database.exec(query),
  }
}

/** Counts every call of a method. */
const countedCalls = <T extends object>(target: T, what: "do" | "kv"): T =>
  new Proxy(target, {
    get(_, name) {
      return (...args: unknown[]) => {
        counts[what] += 1
        return (target as Record<string | symbol, (...given: unknown[]) => unknown>)[name]?.(...args)
      }
    },
  })

const countedShards = (shards: Shards): Shards => ({
  idFromName: (name) => shards.idFromName(name),
  get: (id, options) => countedCalls(shards.get(id, options), "do"),
})

function epochStore({ TIDEMARK_URL: url, TIDEMARK_TOKEN: token = "" }: Env): EpochStore {
  if (url === undefined) {
    const model = new ModelStore(clock)
    model.record({ kind: "everything", namespace: "" })
    return model
  }
  const store = workerStore({
    url,
    token,
    fetch(...request) {
      counts.fetch += 1
      return fetch(...request)
    },
  })
  // The Worker's clock and the reader's are the same one, which is set ahead.
  return { lookup: async (...asked) => ({ ...(await store.lookup(...asked)), asOf: Date.now() + ahead }) }
}

function cachesOf(env: Env) {
  const own = () =>
    createOpenNextCaches({
      tidemark: createTidemark({ store: epochStore(env), now: () => Date.now() + ahead }),
      namespace: "site",
      origin: "https://www.example.com",
    })
  const tidemark = own()
  const made = { incrementalCache: tidemark.incrementalCache(kvCache), tagCache: tidemark.tagCache }
  return {
    d1: { incrementalCache: kvCache, tagCache: d1TagCache },
    do: { incrementalCache: kvCache, tagCache: shardedTagCache() },
    kv: { incrementalCache: kvCache, tagCache: kvTagCache },
    tidemark: made,
    unfenced: { incrementalCache: kvCache, tagCache: own().tagCache },
  }
}

type WaitUntil = (promise: Promise<unknown>) => void

/** Without `waitUntil` what a request stores is stored when it ends. */
const request = <T>(work: () => Promise<T>, waitUntil?: WaitUntil): Promise<T> =>
  runWithOpenNextRequestContext({ isISRRevalidation: false, ...(waitUntil ? { waitUntil } : {}) }, work)

const cache = new Cache()
const page = (html: string, tags: readonly string[]): IncrementalCacheValue => ({
  kind: "APP_PAGE",
  html,
  rscData: undefined,
  headers: { "x-next-cache-tags": tags.join(",") },
  status: 200,
})

async function serves(key: string, html: string, waitUntil?: WaitUntil): Promise<boolean> {
  const entry = await request(() => cache.get(key), waitUntil)
  return entry?.value?.kind === "APP_PAGE" && entry.value.html === html
}

/** Both read before a page is made, as Next.js does, and kept under what was read. */
const fill = (key: string, html: string, tags: readonly string[], meanwhile?: () => Promise<void>) =>
  request(async () => {
    await cache.get(key)
    await meanwhile?.()
    await cache.set(key, page(html, tags), { cacheControl: { revalidate: false } })
  })

/** Races under way together, each about a page of its own. */
const AT_ONCE = 25

/** The clocks of a Worker stand still while it computes: what follows then is not in the same millisecond. */
const pass = () => new Promise((resolve) => setTimeout(resolve, 2))

async function race(tries: number, name: string): Promise<number> {
  let old = 0
  const once = async (nth: number): Promise<void> => {
    const key = `/${name}-${nth}`
    const tag = `${name}-${nth}`
    await fill(key, "old", [tag], async () => {
      clock.time = Date.now()
      await request(() => cache.revalidateTag(tag))
      await pass()
    })
    if (await serves(key, "old")) old += 1
  }
  for (let nth = 0; nth < tries; nth += AT_ONCE)
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, tries - nth) }, (_, more) => once(nth + more)))
  return old
}

async function carry(order: Order, waitUntil: WaitUntil): Promise<number> {
  switch (order.do) {
    case "race":
      return race(order.tries, order.kind)
    case "tags": {
      const tags = Array.from({ length: order.tags }, (_, nth) => `many-${order.tags}-${nth}`)
      const key = `/many-${order.kind}-${order.tags}`
      await fill(key, "old", tags)
      if (!(await serves(key, "old"))) throw new Error("the page was not stored")
      await pass()
      clock.time = Date.now()
      await request(() => cache.revalidateTag(tags.slice(-1)))
      return (await serves(key, "old")) ? 1 : 0
    }
    case "fill":
      for (const [key, tags] of Object.entries(order.pages)) await fill(key, key, tags)
      return 0
    case "visit": {
      let served = 0
      for (const key of order.pages) {
        ahead += order.every
        if (await serves(key, key, waitUntil)) served += 1
      }
      return served
    }
    case "revalidate":
      await request(() => cache.revalidateTag([...order.tags]))
      return 0
  }
}

let caches: ReturnType<typeof cachesOf> | undefined

export default {
  async fetch(incoming: Request, env: Env, ctx: { waitUntil: WaitUntil }): Promise<Response> {
    if (!caches) {
      await env.NEXT_TAG_CACHE_D1.exec(
        "CREATE TABLE IF NOT EXISTS revalidations (tag TEXT NOT NULL, revalidatedAt INTEGER NOT NULL, stale INTEGER, expire INTEGER default NULL, UNIQUE(tag) ON CONFLICT REPLACE)",
      )
      clock.time = Date.now()
      caches = cachesOf(env)
    }
    globals[Symbol.for("__cloudflare-context__")] = {
      env: {
        ...env,
        NEXT_TAG_CACHE_D1: countedDatabase(env.NEXT_TAG_CACHE_D1),
        NEXT_TAG_CACHE_DO_SHARDED: countedShards(env.NEXT_TAG_CACHE_DO_SHARDED),
        NEXT_TAG_CACHE_KV: countedCalls(env.NEXT_TAG_CACHE_KV, "kv"),
      },
      ctx,
      cf: undefined,
    }
    const order = (await incoming.json()) as Order
    Object.assign(globals, caches[order.kind])
    Object.assign(counts, { d1: 0, do: 0, kv: 0, fetch: 0 })
    const served = await carry(order, (promise) => ctx.waitUntil(promise))
    return Response.json({ served, counts } satisfies Report)
  },
}
