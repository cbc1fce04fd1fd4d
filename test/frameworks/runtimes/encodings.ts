import { createTidemark, type EpochStore } from "tidemark/client"
import { withEpochCache } from "tidemark/fetch"

/** Encodings, conditions and HEAD behind `tidemark/fetch`, on whatever runtime this is run by. A line for each answer. */

const { process } = globalThis as unknown as {
  process: { argv: readonly string[]; exit(): never }
}
const [origin = ""] = process.argv.slice(2)

const row = { epoch: 1, watermark: 1, hard: 1, floor: 1, tags: new Map<string, number>() }
const store: EpochStore = {
  lookup: async (request) => ({
    tenant: "default",
    generation: 1,
    last: 1,
    asOf: Date.now(),
    namespaces: new Map(Array.from(request.keys(), (namespace) => [namespace, row])),
  }),
}

const GZIP = "H4sIAAAAAAAAA0tUKEhMT1UoyUgsUcgsViguLE1NrUpNAQAiSoMsFwAAAA=="
const squeezed = Uint8Array.from(atob(GZIP), (letter) => letter.charCodeAt(0))

/** Compresses by itself, or hands on what an origin has compressed. */
async function site(request: Request): Promise<Response> {
  const { pathname } = new URL(request.url)
  if (pathname === "/fetched") return fetch(origin)
  const headers = { vary: "Accept-Encoding", etag: '"1"', "content-type": "text/html" }
  return /gzip/.test(request.headers.get("accept-encoding") ?? "")
    ? new Response(squeezed, { headers: { ...headers, "content-encoding": "gzip" } })
    : new Response("plain", { headers })
}

const handler = withEpochCache(site, { tidemark: createTidemark({ store }), namespace: "blog" })
const background: Promise<unknown>[] = []

async function visit(path: string, headers: Record<string, string> = {}, method = "GET"): Promise<void> {
  const ctx = { waitUntil: (work: Promise<unknown>) => void background.push(work) }
  const response = await handler(new Request(`https://www.example.com${path}`, { method, headers }), {}, ctx)
  const bytes = new Uint8Array(await response.arrayBuffer())
  while (background.length > 0) await background.shift()
  const isSqueezed = bytes[0] === 0x1f && bytes[1] === 0x8b
  console.log(
    JSON.stringify([
      response.status,
      response.headers.get("cache-status")?.replace("tidemark; ", ""),
      isSqueezed ? "gzip" : new TextDecoder().decode(bytes),
      // Of what was fetched, what the runtime leaves in the header is its own affair.
      path === "/fetched" ? null : response.headers.get("content-encoding"),
    ]),
  )
}

const gzip = { "accept-encoding": "gzip, br" }
await visit("/own", gzip)
await visit("/own", gzip)
await visit("/own")
await visit("/own", { "accept-encoding": "br" })
await visit("/own", { "accept-encoding": "gzip;q=0" })
await visit("/own", { ...gzip, "if-none-match": '"1"' })
await visit("/own", gzip, "HEAD")
await visit("/fetched", gzip)
await visit("/fetched", gzip)
await visit("/fetched")
process.exit()
