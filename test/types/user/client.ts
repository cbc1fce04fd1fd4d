import { cacheApiL2, createTidemark, type Judgement, workerStore } from "tidemark/client"
import { withEpochCache } from "tidemark/fetch"
import { createCacheHandler } from "tidemark/next"
import { createLocalCache, memoryPages } from "tidemark/node"
import { createOpenNextCaches } from "tidemark/opennext"
import { cloudflare, labelsFor } from "tidemark/tags"
import { cookie, language } from "tidemark/vary"
import { purgeAgent } from "tidemark/workers-cache"

/** Every entry that needs nothing but the package. */

export async function site(caches: CacheStorage) {
  const tidemark = createTidemark({
    // What an environment lacks is undefined.
    store: workerStore({ url: process.env["TIDEMARK_URL"], token: process.env["TIDEMARK_TOKEN"] }),
    l2: cacheApiL2(await caches.open("epochs"), "https://epochs.example.invalid/"),
  })
  const handler = withEpochCache(() => new Response("x"), {
    tidemark,
    namespace: "blog",
    labels: labelsFor(cloudflare),
    cache: memoryPages(),
  })
  const careful = withEpochCache<{ readonly KEY: string }>(
    (request, env) => new Response(env.KEY + request.url),
    {
      tidemark,
      namespace: ({ request }) => (request.url.includes("/blog/") ? "blog" : "shop"),
      tags: async ({ request }, response) => [
        new URL(request.url).pathname,
        response.headers.get("x-id") ?? "",
      ],
      bypass: ({ request }) => request.headers.get("cookie")?.includes("session=") ?? false,
      query: { ignore: ["ref", "utm_*"] },
      vary: { "accept-language": language(["en", "de"]), cookie: cookie("theme"), "x-country": true },
      version: "1",
      staleIfError: 60_000,
      cache: await caches.open("pages"),
      cacheTimeout: 1_000,
      onWarning: ({ code, cause }, { request }) => console.warn(code, cause, request.url),
    },
  )
  const judgement: Judgement = await tidemark.judge(undefined, "blog", { tags: ["post-1"] })
  return { fetch: handler, careful, verdict: judgement.verdict }
}

const tidemark = createTidemark({ store: workerStore({ url: "https://tidemark.example.com", token: "t" }) })
export const nextCache = createCacheHandler({ tidemark, namespace: "blog" })
export const openNext = createOpenNextCaches({ tidemark, namespace: "a", origin: "https://www.example.com" })
export const local = createLocalCache<string>({ tidemark, namespace: "a" })
export const agent = purgeAgent({ secret: "a" })
