import { join } from "node:path"
import { createContext, runInContext } from "node:vm"
import { build } from "esbuild"
import { expect, it } from "vitest"
import { packageRoot } from "../../cli/package-root.ts"

/**
 * The reader and every plug but that of Node run on what all web-like runtimes have in common (Workers, Deno, Vercel's
 * edge, Node): nothing of Node, and no Cache API, which some of them lack.
 */
const GLOBALS = [
  "AbortController",
  "AbortSignal",
  "Blob",
  "Headers",
  "ReadableStream",
  "Request",
  "Response",
  "TextDecoder",
  "TextEncoder",
  "TransformStream",
  "URL",
  "URLSearchParams",
  "atob",
  "btoa",
  "clearTimeout",
  "crypto",
  "fetch",
  "performance",
  "queueMicrotask",
  "setTimeout",
  "structuredClone",
]

const PLUGS = [
  "index",
  "tags",
  "astro",
  "fetch",
  "hono",
  "next",
  "next-isr",
  "next-redis",
  "nitro",
  "nuxt",
  "opennext",
  "sveltekit",
  "vary",
  "workers-cache",
]

async function load(file: string, context = createContext(webGlobals())): Promise<Record<string, any>> {
  const { outputFiles } = await build({
    entryPoints: [join(packageRoot, "client", `${file}.ts`)],
    bundle: true,
    format: "iife",
    globalName: "loaded",
    // Neither of a browser nor of Node: an import of either fails to resolve.
    platform: "neutral",
    target: "es2024",
    write: false,
    logLevel: "silent",
  })
  runInContext(`var loaded; ${outputFiles[0]?.text ?? ""}`, context)
  return runInContext("loaded", context) as Record<string, any>
}

const webGlobals = (): Record<string, unknown> =>
  Object.fromEntries(GLOBALS.map((name) => [name, (globalThis as Record<string, unknown>)[name]]))

it.each(PLUGS)("%s loads where nothing of Node is", async (name) => {
  expect(Object.keys(await load(name)).length).toBeGreaterThan(0)
})

it("the reader and a plug work there, and keep pages in memory", async () => {
  const context = createContext(webGlobals())
  const { createTidemark, workerStore } = await load("index", context)
  const { withEpochCache } = await load("fetch", context)
  const rows = { epoch: 1, watermark: 1, hard: 1, floor: 1, tags: {}, urls: {} }
  const answer = {
    tenant: "default",
    generation: 1,
    last: 1,
    stamp: "1.1",
    asOf: 0,
    namespaces: { blog: rows },
  }
  const asked: string[] = []
  const tidemark = createTidemark({
    store: workerStore({
      url: "https://tidemark.example.com",
      token: "tm_0123456789012345678901234567890123456789012",
      fetch: async (url: string) => {
        asked.push(new URL(url).pathname)
        return Response.json(answer)
      },
    }),
  })
  let made = 0
  const handler = withEpochCache(async () => new Response(`page ${(made += 1)}`), {
    tidemark,
    namespace: "blog",
  })
  const visit = async () => {
    const response = await handler(new Request("https://www.example.com/"), {}, {})
    return [await response.text(), response.headers.get("cache-status")]
  }
  expect(await visit()).toEqual(["page 1", "tidemark; fwd=uri-miss; stored"])
  // It is kept in the background.
  await expect.poll(visit).toEqual(["page 1", "tidemark; hit"])
  expect(asked).toEqual(["/v1/epochs"])
})
