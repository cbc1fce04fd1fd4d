import { createTidemark, workerStore } from "tidemark/client"
import { type PageStore, withEpochCache } from "tidemark/fetch"
import { createCacheHandler } from "tidemark/next"
import { createLocalCache, memoryPages } from "tidemark/node"
import { createOpenNextCaches } from "tidemark/opennext"
import { labelsFor, varnish } from "tidemark/tags"

/** A server's project, whose `lib` has no DOM: what is global there is Node's. */

const tidemark = createTidemark({ store: workerStore({ url: "https://tidemark.example.com", token: "t" }) })
export const nextCache = createCacheHandler({ tidemark, namespace: "blog" })
export const openNext = createOpenNextCaches({ tidemark, namespace: "a", origin: "https://www.example.com" })
export const labels = labelsFor(varnish)

const pages: PageStore = memoryPages({ maxBytes: 1_000_000 })
export const site = withEpochCache(() => new Response("x"), { tidemark, namespace: "blog", cache: pages })
export const local = createLocalCache<string>({ tidemark, namespace: "a" })
