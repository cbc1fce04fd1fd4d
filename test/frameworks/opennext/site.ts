import { AsyncLocalStorage } from "node:async_hooks"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { build, type Plugin } from "esbuild"
import type { IncrementalCache, QueueMessage, TagCache } from "@opennextjs/aws/types/overrides.js"

/**
 * A site of one dynamic route as OpenNext serves it: its interceptor in front of Next.js's own response cache, whose
 * cache handler is OpenNext's. All of them are the real ones; only the page is ours.
 */

const require = createRequire(import.meta.url)
const globals = globalThis as unknown as Record<string | symbol, unknown>

type Work<T> = () => Promise<T>

interface OpenNext {
  readonly Cache: new () => FetchCache
  readonly composable: ComposableCache
  readonly cacheInterceptor: (event: object, routes: readonly object[]) => Promise<Result>
  readonly runWithOpenNextRequestContext: <T>(request: object, work: Work<T>) => Promise<T>
  readonly devTagCache: TagCache
  readonly kvCache: IncrementalCache
  readonly withRegionalCache: (inner: IncrementalCache, options: object) => IncrementalCache
  readonly invalidateCDNOnRequest: (routing: object, headers: Record<string, string>) => Promise<void>
}

interface FetchCache {
  get(key: string, options: object): Promise<{ readonly value: unknown } | null>
  set(key: string, value: object, options: object): Promise<void>
  revalidateTag(tags: string | readonly string[], durations?: { readonly expire?: number }): Promise<void>
}

interface ComposableCache {
  get(key: string): Promise<{ readonly timestamp: number } | undefined>
  set(key: string, entry: Promise<object>): Promise<void>
  getExpiration(tags: readonly string[]): Promise<number>
}

interface Result {
  readonly type: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: ReadableStream
}

/** Next.js as it is published has no types for these. */
interface ResponseCache {
  get(key: string, make: () => Promise<object>, context: object): Promise<{ value: { html: unknown } } | null>
}

const MANIFESTS = {
  prerender: { routes: {}, dynamicRoutes: { "/[slug]": { fallback: null, routeRegex: "^/([^/]+?)$" } } },
  preview: { previewModeId: "p", previewModeSigningKey: "s", previewModeEncryptionKey: "e" },
}

/** What a build writes into its place. */
const manifests: Plugin = {
  name: "manifests",
  setup(bundle) {
    bundle.onResolve({ filter: /adapters\/config\/index/ }, () => ({
      path: "manifests",
      namespace: "manifests",
    }))
    bundle.onLoad({ filter: /./, namespace: "manifests" }, () => ({
      contents: `
        export const PrerenderManifest = ${JSON.stringify(MANIFESTS.prerender)}
        export const AppPathsManifest = { "/[slug]/page": "app/[slug]/page.js" }
        export const RoutesManifest = { routes: { static: [], dynamic: [], data: { static: [], dynamic: [] } }, locales: [] }
        export const NextConfig = {}, PagesManifest = {}, AppPathRoutesManifest = {}, BuildId = "b", HtmlPages = []`,
    }))
  },
}

async function loadOpenNext(): Promise<OpenNext> {
  const bundled = await build({
    stdin: {
      contents: `
        export { default as Cache } from "@opennextjs/aws/adapters/cache.js"
        export { default as composable } from "@opennextjs/aws/adapters/composable-cache.js"
        export { cacheInterceptor } from "@opennextjs/aws/core/routing/cacheInterceptor.js"
        export { invalidateCDNOnRequest } from "@opennextjs/aws/core/routing/util.js"
        export { runWithOpenNextRequestContext } from "@opennextjs/aws/utils/promise.js"
        export { default as devTagCache } from "@opennextjs/aws/overrides/tagCache/fs-dev-nextMode.js"
        export { default as kvCache } from "@opennextjs/cloudflare/overrides/incremental-cache/kv-incremental-cache"
        export { withRegionalCache } from "@opennextjs/cloudflare/overrides/incremental-cache/regional-cache"`,
      resolveDir: import.meta.dirname,
    },
    bundle: true,
    format: "esm",
    platform: "node",
    banner: {
      js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);',
    },
    plugins: [manifests],
    write: false,
  })
  const directory = await mkdtemp(join(tmpdir(), "tidemark-opennext-"))
  try {
    const file = join(directory, "opennext.mjs")
    await writeFile(file, bundled.outputFiles[0]?.text ?? "")
    return (await import(pathToFileURL(file).href)) as OpenNext
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

globals["__openNextAls"] = new AsyncLocalStorage()
globals["openNextConfig"] = { dangerous: {} }
globals["nextVersion"] = "16.4.6"
globals["queue"] = { name: "test", send: async (message: QueueMessage) => void queued.push(message) }
let queued: QueueMessage[] = []

/** A KV namespace, as much of it as OpenNext uses. */
const kv = new Map<string, string>()
globals[Symbol.for("__cloudflare-context__")] = {
  env: {
    NEXT_INC_CACHE_KV: {
      get: async (key: string) => JSON.parse(kv.get(key) ?? "null") as unknown,
      put: async (key: string, value: string) => void kv.set(key, value),
      delete: async (key: string) => void kv.delete(key),
    },
  },
  ctx: { waitUntil: (promise: Promise<unknown>) => void background.push(promise) },
}
const background: Promise<unknown>[] = []

export const openNext = await loadOpenNext()
export const { kvCache } = openNext
const { default: NextResponseCache } = require("next/dist/server/response-cache") as {
  default: new (options: object) => ResponseCache
}
const { IncrementalCache: NextIncrementalCache } = require("next/dist/server/lib/incremental-cache") as {
  IncrementalCache: new (options: object) => object
}
const { default: RenderResult } = require("next/dist/server/render-result") as {
  default: { fromStatic(html: string, type: string): object }
}

/** How a page is made: its body, and its tags beside that of its path. */
export type Make = (slug: string) => Promise<{
  readonly body: string
  readonly tags?: readonly string[]
}>

export interface SiteCaches {
  readonly incrementalCache: IncrementalCache
  readonly tagCache: TagCache
}

export interface Site {
  /** As a visitor: the body, and whether OpenNext's interceptor had it (`HIT`, `STALE`) or the server (`served`). */
  visit(slug: string): Promise<string>
  /** As OpenNext's queue does what it was sent. Answers how many messages there were. */
  revalidate(): Promise<number>
  /** As `res.revalidate()` has a page made anew. */
  revalidateOnDemand(slug: string): Promise<string>
  /** Code of the site that runs within a request. */
  within<T>(work: Work<T>): Promise<T>
  readonly fetchCache: FetchCache
  readonly composable: ComposableCache
}

/** One isolate of the site. Only one is in use at a time: OpenNext's caches are global. */
export function openSite(caches: SiteCaches, make: Make, { interception = true } = {}): Site {
  // OpenNext has it that a stale page is never made anew within the visitor's request; we never hand it one there.
  const responses = new NextResponseCache({
    minimalMode: false,
    route: { kind: "APP_PAGE", sourceRoute: "/[slug]/page" },
  })
  queued = []
  const request = <T>(work: Work<T>, isISRRevalidation = false): Promise<T> => {
    Object.assign(globals, caches)
    return openNext.runWithOpenNextRequestContext({ isISRRevalidation }, work)
  }

  async function render(slug: string): Promise<object> {
    const { body, tags = [] } = await make(slug)
    return {
      value: {
        kind: "APP_PAGE",
        html: RenderResult.fromStatic(body, "text/html"),
        rscData: Buffer.from(body),
        headers: { "x-next-cache-tags": [`_N_T_/${slug}`, ...tags].join(",") },
        status: 200,
      },
      cacheControl: { revalidate: 3_600, expire: 31_536_000 },
    }
  }

  async function serve(slug: string, isOnDemandRevalidate: boolean): Promise<string> {
    const incrementalCache = new NextIncrementalCache({
      dev: false,
      minimalMode: false,
      requestHeaders: isOnDemandRevalidate ? { "x-prerender-revalidate": "p" } : {},
      previewProps: MANIFESTS.preview,
      prerenderManifest: { ...MANIFESTS.prerender, notFoundRoutes: [] },
      CurCacheHandler: openNext.Cache,
    })
    const entry = await responses.get(`/${slug}`, () => render(slug), {
      incrementalCache,
      isOnDemandRevalidate,
      routeKind: "APP_PAGE",
    })
    const html = entry?.value.html as { toUnchunkedString(): string } | string
    return typeof html === "string" ? html : html.toUnchunkedString()
  }

  return {
    async visit(slug) {
      const seen = await request(async () => {
        const event = { method: "GET", rawPath: `/${slug}`, headers: { host: "www.example.com" }, query: {} }
        const result = interception
          ? await openNext.cacheInterceptor(event, [{ route: "/[slug]", type: "app" }])
          : undefined
        return result?.type === "core"
          ? `${await new Response(result.body ?? null).text()} ${result.headers["x-opennext-cache"]}`
          : `${await serve(slug, false)} served`
      })
      while (background.length > 0) await background.shift()
      return seen
    },
    async revalidate() {
      const messages = queued
      queued = []
      for (const { MessageBody } of messages)
        await request(() => serve(MessageBody.url.slice(1), true), true).catch(() => undefined)
      return messages.length
    },
    revalidateOnDemand: (slug) => request(() => serve(slug, true)),
    within: (work) => request(work),
    fetchCache: new openNext.Cache(),
    composable: openNext.composable,
  }
}
