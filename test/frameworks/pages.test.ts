import { beforeAll } from "vitest"
import { type CacheContext, epochCacheProvider } from "../../client/astro.ts"
import { depend, epochHandle } from "../../client/sveltekit.ts"
import { pageSuite, type TestedSite } from "../../client/testing/page-suite.ts"
// Astro's own, which its apps run requests through; it is not exported.
import { handleCache } from "./node_modules/astro/dist/core/cache/handler.js"
import { AstroCache } from "./node_modules/astro/dist/core/cache/runtime/cache.js"
import { type Site, startSvelteKit, type SvelteKitServer } from "./sveltekit-server.ts"

/** What every plug that answers requests promises, of those that need their framework. */

let server: SvelteKitServer
beforeAll(async () => {
  server = await startSvelteKit(true)
})

/** What code around a framework sets on its response. */
function surrounded(response: Response, request: Request, outside: TestedSite["outside"]): Response {
  const prepared = outside?.(request)
  if (!prepared) return response
  const copy = new Response(response.body, response)
  for (const [name, value] of Object.entries(prepared)) copy.headers.append(name, value)
  return copy
}

pageSuite({
  name: "tidemark/sveltekit",
  takesRequest: true,
  answersConditions: true,
  requestOf: ({ request }: { request: Request }) => request,
  serve({ page, outside }, options, waitUntil) {
    const handle = epochHandle(options as never) as Site["handle"]
    const platform: Site = {
      handle,
      load: () => ({ text: "" }),
      get(event) {
        depend(event, [])
        return page(event.request)
      },
      ctx: { waitUntil },
    }
    return async (request) =>
      surrounded(
        await server.respond(request, { platform, getClientAddress: () => "192.0.2.1" }),
        request,
        outside,
      )
  },
})

pageSuite({
  name: "tidemark/astro",
  takesRequest: false,
  requestOf: ({ request }: CacheContext) => request,
  serve({ page, outside }, options, waitUntil) {
    const provider = epochCacheProvider(options as never)()
    const manifest = { cacheProvider: async () => ({ default: () => provider }), cacheConfig: {} }
    return async (request) => {
      const cache = new AstroCache(provider)
      const state = {
        manifest,
        request,
        resolve: () => cache,
        renderOptions: { waitUntil },
        logger: { info: () => undefined, warn: () => undefined, error: () => undefined },
      }
      const made = async () => {
        const response = await page(request)
        // Astro itself writes into one of which the cache was told.
        if (response.status === 200) cache.set({ tags: ["astro"] })
        return response
      }
      return surrounded(await handleCache(state as never, made), request, outside)
    }
  },
})
