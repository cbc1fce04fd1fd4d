import type { Handle } from "@sveltejs/kit/hooks"
import { createMemoryStorage, defineCachedFunction, defineCachedHandler } from "ocache"
import { createClient } from "redis"
import { createTidemark, workerStore } from "tidemark/client"
import { defineEpochCachedFunction, defineEpochCachedHandler } from "tidemark/nitro"
import { createLocalCache, followWakes, redisStore } from "tidemark/node"
import { depend, epochHandle } from "tidemark/sveltekit"

/** What a framework's own types have to agree with. */

const worker = workerStore({ url: "https://tidemark.example.com", token: "t" })
const tidemark = createTidemark({ store: worker })

export const handle: Handle = epochHandle({ tidemark, namespace: "blog" })
export const load = (event: Parameters<typeof depend>[0]) => depend(event, ["post-1"])

export const getPost = defineEpochCachedFunction(defineCachedFunction, async (id: string) => ({ id }), {
  tidemark,
  namespace: "blog",
  tags: (post) => [post.id],
  name: "post",
  maxAge: 1,
  swr: true,
})
export const route = defineEpochCachedHandler(defineCachedHandler, () => new Response("x"), {
  tidemark,
  namespace: "blog",
  storage: createMemoryStorage(),
  maxAge: 1,
})

const redis = createClient({ url: "redis://127.0.0.1" })
const overTcp = createTidemark({ store: { ...worker, ...redisStore(redis) } })
const products = createLocalCache<{ readonly name: string }>({ tidemark: overTcp, namespace: "catalog" })
export const wakes = followWakes({ tidemark: overTcp, subscriber: redis.duplicate(), caches: [products] })
