import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { build } from "esbuild"

/** What the runtime of a Nitro 3 exports to a server, and h3 2 as that Nitro brings it. */
export interface Nitro3 {
  readonly defineCachedFunction: any
  readonly defineCachedHandler: any
  readonly H3: new () => {
    use(middleware: (event: any) => unknown): void
    get(path: string, handler: any): void
    request(path: string, init?: RequestInit): Promise<Response>
  }
}

/** A storage in memory, and of the rest nothing that is asked for. */
const GENERATED = `
  const kept = new Map()
  const storage = { getItem: async (key) => kept.get(key), setItem: async (key, value) => void kept.set(key, value) }
  module.exports = { initStorage: () => storage }`

/**
 * Loads the caches of a Nitro 3 as its package has them. Of the app around them, which its build generates, there is
 * nothing.
 */
export async function loadNitro3(name: "nitro" | "nitro-without-ocache"): Promise<Nitro3> {
  const directory = mkdtempSync(join(tmpdir(), "tidemark-nitro3-"))
  const outfile = join(directory, "runtime.mjs")
  try {
    await build({
      stdin: {
        contents: `export * from "./dist/runtime/internal/cache.mjs"\nexport { H3 } from "h3"`,
        resolveDir: join(import.meta.dirname, "node_modules", name),
      },
      bundle: true,
      format: "esm",
      platform: "node",
      outfile,
      logLevel: "error",
      plugins: [
        {
          name: "generated",
          setup({ onResolve, onLoad }) {
            onResolve({ filter: /^#nitro/ }, ({ path }) => ({ path, namespace: "generated" }))
            onLoad({ filter: /.*/, namespace: "generated" }, () => ({ contents: GENERATED }))
          },
        },
      ],
    })
    return (await import(pathToFileURL(outfile).href)) as Nitro3
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
