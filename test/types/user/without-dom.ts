import { createTidemark, workerStore } from "tidemark/client"
import { createCacheHandler } from "tidemark/next"
import { createOpenNextCaches } from "tidemark/opennext"
import { labelsFor, varnish } from "tidemark/tags"

/** A server's project, whose `lib` has no DOM: what is global there is Node's. */

const tidemark = createTidemark({ store: workerStore({ url: "https://tidemark.example.com", token: "t" }) })
export const nextCache = createCacheHandler({ tidemark, namespace: "blog" })
export const openNext = createOpenNextCaches({ tidemark, namespace: "a", origin: "https://www.example.com" })
export const labels = labelsFor(varnish)
