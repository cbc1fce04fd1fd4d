import type { Namespace } from "../protocol/namespace.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import type { WaitUntil } from "./epochs.ts"
import { ascii, FOREVER, fromAscii } from "./page.ts"
import type { QueryOptions } from "./page-key.ts"
import { createPages, type Made, type PagesOptions } from "./pages.ts"
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
  /** How long after that it may be served where it cannot be made once more, in milliseconds. Default 300,000. */
  readonly staleIfError?: Milliseconds
  /** Names of request headers that pages differ by. Default: none. */
  readonly vary?: readonly string[]
  /** Which parameters make another page. Default: all but those by which campaigns are counted, as with Astro's own. */
  readonly query?: QueryOptions
  /** Changes with each deploy: pages of another version are not found. Default: none. */
  readonly version?: string
  /**
   * The origin that the site is published under: pages are asked by their urls there, and `invalidate({ path })`
   * publishes the url too. They are kept under the name that they were made for. Default: the request's.
   */
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

/** Where Astro holds the cookies of a response. */
const COOKIES = Symbol.for("astro.cookies")

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
export default function provideEpochCache(config = {} as EpochProviderConfig): EpochCacheProvider {
  for (const name of ["url", "namespace"] as const)
    if (!config[name]) throw new TypeError(`cache.provider.config.${name} is missing`)
  const { url, token: variable = "TIDEMARK_TOKEN", ...rest } = config
  // A Worker without Node's compatibility has no environment.
  const { process } = globalThis as { process?: { env?: Readonly<Record<string, string | undefined>> } }
  const token = process?.env?.[variable]
  if (!token) throw new TypeError(`the environment variable ${variable} is missing`)
  return createProvider({
    ...rest,
    tidemark: createTidemark({ ...rest, store: workerStore({ url, token }) }),
  })
}

function createProvider(options: EpochProviderOptions): EpochCacheProvider {
  const { tidemark, namespace, site, mode } = options
  const serve = createPages<CacheContext>(
    {
      ...(site && { url: ({ url }: CacheContext) => new URL(url.pathname + url.search, site).href }),
      onWarning: ({ code, dropped, cause }, { logger }, page) =>
        logger.warn(`tidemark: ${code}: ${dropped ? `${page}: ${dropped.join(", ")}` : String(cause)}`),
      ...options,
    },
    // As with Astro's own provider, the order of parameters makes no other page.
    true,
  )

  return {
    name: "tidemark",
    setHeaders({ lastModified, etag, ...said }) {
      return new Headers({
        [SAID]: ascii(said),
        ...(etag && { etag }),
        ...(lastModified && { "last-modified": lastModified.toUTCString() }),
      })
    },
    async onRequest(context, next) {
      let cookies: unknown
      const response = await serve({
        context,
        request: context.request,
        waitUntil: context.waitUntil,
        // Astro makes its page from the request that it has.
        isDeaf: true,
        async make() {
          const page = made(await next(), context.url)
          cookies = Reflect.get(page.response, COOKIES)
          return page
        },
        respond(body, init) {
          cookies = undefined
          return new Response(body, init)
        },
      })
      // Astro writes them into the headers of whatever it is answered with.
      if (cookies) Reflect.set(response, COOKIES, cookies)
      return response
    },
    async invalidate({ path, tags = [] }) {
      const all = [tags, path === undefined ? [] : pathTag(path)].flat()
      // With neither, a publish would mean the whole namespace.
      if (all.length === 0) return
      const { publicationsOf, publishEach } = await import("./publications.ts")
      const urls = path !== undefined && site ? [new URL(path, site).href] : []
      // Apart: a url that is refused takes no tag with it.
      const publications = [{ tags: all }, { urls }].flatMap((lists) => publicationsOf(namespace, lists))
      await publishEach(publications, (what) => tidemark[mode === "invalidate" ? mode : "purge"](what))
    },
  }
}

/** What a page said through `Astro.cache`, taken off its response. */
function made(response: Response, { pathname }: URL): Made {
  const { headers } = response
  const said = headers.get(SAID)
  // One that said nothing may be of another's making, and not to be written into.
  if (!said) return { response, mayBeKept: false }
  headers.delete(SAID)
  if (setsCookies(response)) return { response, mayBeKept: false }
  // Astro says `no-cache` to browsers where a page can be revalidated. To them this is the same; here, the former would
  // say that the page must not be kept.
  if ((headers.has("etag") || headers.has("last-modified")) && headers.get("cache-control") === "no-cache")
    headers.set("cache-control", "max-age=0, must-revalidate")
  const { tags = [], maxAge = FOREVER, swr = 0 }: CacheOptions = fromAscii(said)
  return { response, tags: [...tags, pathTag(pathname)], maxAge: maxAge * SECOND, swr: swr * SECOND }
}

/** Cookies that Astro holds beside the response, and writes into its headers later. */
const setsCookies = (response: Response): boolean =>
  Reflect.get(response, COOKIES)?.headers().next().done === false
