import type { Namespace } from "../protocol/namespace.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import type { WaitUntil } from "./epochs.ts"
import { ascii } from "./page.ts"
import { createPages, type EpochCacheWarning, type PagesOptions } from "./pages.ts"
import { workerStore } from "./store.ts"
import { createTidemark, type Tidemark } from "./tidemark.ts"

/** `tidemark/astro`: a cache provider for Astro 7 that keeps pages under their stamps. */

export type { EpochCacheWarning, PageStore } from "./pages.ts"

/** What `Astro.cache.set` was told. Times are in seconds. */
export interface CacheOptions {
  maxAge?: number
  swr?: number
  tags?: string[]
  lastModified?: Date
  etag?: string
}

/** A request, as Astro hands it to a provider. */
export interface CacheContext {
  request: Request
  url: URL
  waitUntil?: WaitUntil
  logger: { warn(message: string): void }
}

/** Astro's `CacheProvider`. */
export interface EpochCacheProvider {
  name: string
  setHeaders(options: CacheOptions): Headers
  onRequest(context: CacheContext, next: () => Promise<Response>): Promise<Response>
  invalidate(options: { path?: string; tags?: string | string[] }): Promise<void>
}

/** What can stand in `astro.config`, which is kept as text. */
export interface EpochProviderConfig {
  /** Where the Worker answers, such as `https://tidemark.example.com`. */
  readonly url: string
  /**
   * The *name* of the environment variable that holds the token, with the scopes `epochs:` and, for `invalidate`,
   * `publish:` of the namespace. Default `TIDEMARK_TOKEN`.
   */
  readonly token?: string
  /** The namespace of the site's pages. */
  readonly namespace: Namespace
  /** How long a look-up is used, in milliseconds. Default 5,000. */
  readonly ttl?: Milliseconds
  /** How old a look-up may get while the store does not answer, in milliseconds. Default 60,000. */
  readonly maxStale?: Milliseconds
  /** How long after a soft invalidation the old page may be served, in milliseconds. Default 60,000. 0: never. */
  readonly swr?: Milliseconds
  /** Names of request headers that pages differ by. Default: none. */
  readonly vary?: readonly string[]
  /** The origin that the site is published under; with it, `invalidate({ path })` publishes the url too. */
  readonly site?: string
  /**
   * What `Astro.cache.invalidate` publishes: `purge`, after which the old page is never served, as with Astro's own
   * providers; or `invalidate`, after which it may be while it is made once more. Default `purge`.
   */
  readonly mode?: "purge" | "invalidate"
}

export interface EpochProviderOptions
  extends
    Omit<PagesOptions<CacheContext>, "tidemark" | "namespace" | "tags" | "fresh">,
    Pick<EpochProviderConfig, "namespace" | "site" | "mode"> {
  readonly tidemark: Tidemark
}

/** The header in which a response carries what its page said, on its way to the provider. Never sent on. */
const SAID = "tidemark-astro"

/** The header of a copy that tells when its `maxAge` ends, in milliseconds since 1970. Never sent on. */
const UNTIL = "tidemark-until"

interface Said {
  readonly tags: readonly string[]
  /** `maxAge` and `swr` together. */
  readonly keepFor: Milliseconds | undefined
}

/** As Astro's own providers call the tag of a path. */
const pathTag = (path: string): string => `astro-path:${path}`

/**
 * A provider for a module of one's own, with a reader that is made there; `entrypoint` in `astro.config` names it.
 *
 * It keeps what `Astro.cache.set` or a route rule asked to be kept: for `maxAge` seconds, and `swr` seconds longer
 * while the page is made once more; without `maxAge`, until it is invalidated. A page that sets cookies is not kept.
 *
 * Astro takes `Cache-Tag` and `CDN-Cache-Control` off every response that such a provider answers: of `labels`, those
 * for caches that read another header reach them.
 *
 * @example
 *
 *     export default epochCacheProvider({ tidemark, namespace: "blog", site: "https://www.example.com" })
 */
export const epochCacheProvider =
  (options: EpochProviderOptions): (() => EpochCacheProvider) =>
  () =>
    createProvider(options)

/**
 * A provider made from what stands in `astro.config`.
 *
 * @example
 *
 *     cache: { provider: { entrypoint: "tidemark/astro", config: { url: "https://tidemark.example.com", namespace: "blog" } } }
 *
 * @throws {TypeError} when the url, the namespace or the token is missing, naming it
 */
export default function provideEpochCache(config: EpochProviderConfig | undefined): EpochCacheProvider {
  const {
    url,
    token: name = "TIDEMARK_TOKEN",
    ttl,
    maxStale,
    ...rest
  } = config ?? ({} as EpochProviderConfig)
  if (!url) throw new TypeError("cache.provider.config.url is missing")
  if (!rest.namespace) throw new TypeError("cache.provider.config.namespace is missing")
  const token = environment()[name]
  if (!token) throw new TypeError(`the environment variable ${name} is missing, which holds the token`)
  const times = { ...(ttl === undefined ? {} : { ttl }), ...(maxStale === undefined ? {} : { maxStale }) }
  return createProvider({
    ...rest,
    tidemark: createTidemark({ store: workerStore({ url, token }), ...times }),
  })
}

function createProvider(options: EpochProviderOptions): EpochCacheProvider {
  const { tidemark, namespace, site, mode } = options
  let warn: (message: string) => void = () => undefined
  const told = new WeakMap<Response, Said>()
  const urlOf = ({ url }: CacheContext) => new URL(url.pathname + url.search, site ?? url)
  const serve = createPages<CacheContext>({
    url: (context) => urlOf(context).href,
    // As with Astro's own provider, the order of parameters makes no other page.
    key(context) {
      const url = urlOf(context)
      url.searchParams.sort()
      return url.href
    },
    ...options,
    tags: (_, response) => told.get(response)?.tags ?? [],
    onWarning: options.onWarning ?? (({ code }: EpochCacheWarning) => warn(`tidemark: ${code}`)),
  })

  function answer(
    context: CacheContext,
    request: Request,
    next: () => Promise<Response>,
    isRevalidation: boolean,
  ): Promise<Response> {
    let said: Said | undefined
    return serve({
      context,
      request,
      waitUntil: context.waitUntil,
      isRevalidation,
      async make() {
        const response = await next()
        said = takeSaid(response, context.url)
        if (said) told.set(response, said)
        return response
      },
      failed: () => !said,
      keepFor: () => said?.keepFor,
      isExpired: (copy) => Date.now() >= Number(copy.headers.get(UNTIL) ?? Infinity),
      revalidate: (again) => answer(context, again, next, true),
    })
  }

  return {
    name: "tidemark",
    setHeaders({ maxAge, swr, tags = [], lastModified, etag }) {
      const headers = new Headers()
      const directives = [
        ...(maxAge === undefined ? [] : [`max-age=${maxAge}`]),
        ...(swr === undefined ? [] : [`stale-while-revalidate=${swr}`]),
      ]
      if (directives.length > 0) headers.set("cdn-cache-control", directives.join(", "))
      if (lastModified) headers.set("last-modified", lastModified.toUTCString())
      if (etag) headers.set("etag", etag)
      headers.set(SAID, ascii({ tags, maxAge, swr }))
      return headers
    },
    async onRequest(context, next) {
      warn = (message) => context.logger.warn(message)
      const response = await answer(context, context.request, next, false)
      const { headers } = response
      headers.delete(UNTIL)
      if (isConditional(headers) && !headers.has("cache-control") && !headers.has("expires"))
        headers.set("cache-control", "no-cache")
      return response
    },
    async invalidate({ path, tags = [] }) {
      const all = [
        ...(typeof tags === "string" ? [tags] : tags),
        ...(path === undefined ? [] : [pathTag(path)]),
      ]
      // With neither, a publish would mean the whole namespace.
      if (all.length === 0) return
      const hasUrl = path !== undefined && site !== undefined
      const what = { namespace, tags: all, ...(hasUrl ? { urls: [new URL(path, site).href] } : {}) }
      await (mode === "invalidate" ? tidemark.invalidate(what) : tidemark.purge(what))
    },
  }
}

/** What the page said through `Astro.cache`, taken off its response; undefined where it is not to be kept. */
function takeSaid(response: Response, { pathname }: URL): Said | undefined {
  const { headers } = response
  const text = headers.get(SAID)
  headers.delete(SAID)
  if (text === null || setsCookies(response)) return undefined
  // Astro adds this for browsers, where a page can be revalidated; here it would say that it must not be kept.
  if (isConditional(headers) && headers.get("cache-control") === "no-cache") headers.delete("cache-control")
  const { tags, maxAge, swr = 0 } = JSON.parse(text)
  if (maxAge !== undefined) headers.set(UNTIL, String(Date.now() + maxAge * SECOND))
  return {
    tags: [...tags, pathTag(pathname)],
    keepFor: maxAge === undefined ? undefined : (maxAge + swr) * SECOND,
  }
}

const isConditional = (headers: Headers): boolean => headers.has("etag") || headers.has("last-modified")

/** Cookies that Astro holds beside the response, and writes into its headers later. */
function setsCookies(response: Response): boolean {
  const cookies: { headers(): Iterator<string> } | undefined = Reflect.get(
    response,
    Symbol.for("astro.cookies"),
  )
  return cookies !== undefined && cookies !== null && cookies.headers().next().done !== true
}

/** As much of it as there is: a Worker without Node's compatibility has none. */
function environment(): Readonly<Record<string, string | undefined>> {
  const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } }
  return process?.env ?? {}
}
