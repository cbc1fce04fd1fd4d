import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { build, createNitro, prepare } from "nitropack"

/** What the app hands out of itself: Nitro 2's own functions, as a server's code imports them. */
export interface Nitro2 {
  readonly nitroApp: {
    readonly h3App: { readonly stack: unknown[] }
    readonly router: { use(route: string, handler: unknown, method?: string): void }
    readonly hooks: { hook(name: string, run: (...args: any[]) => unknown): () => void }
    localFetch(path: string, init?: object): Promise<Response>
  }
  readonly runtime: typeof import("nitropack/runtime")
  readonly h3: typeof import("h3")
  /** Runs before every handler, as `server/middleware` does. */
  before: (event: import("h3").H3Event) => unknown
  /** What Nuxt would render. */
  render: (event: import("h3").H3Event) => unknown
}

/**
 * Builds an app of Nitro 2 by nitropack itself, and imports it into this process. Routes are added by the tests.
 *
 * @returns the app, and what removes its files
 */
export async function importNitro2(): Promise<{ readonly nitro: Nitro2; readonly remove: () => void }> {
  mkdirSync(join(import.meta.dirname, ".tidemark"), { recursive: true })
  const rootDir = mkdtempSync(join(import.meta.dirname, ".tidemark/nitro2-"))
  const files = {
    "plugins/hand-out.ts": `
      import * as h3 from "h3"
      import * as runtime from "nitropack/runtime"
      export default (nitroApp) => {
        globalThis.nitro2 = { nitroApp, runtime, h3, before: () => undefined, render: () => undefined }
      }`,
    "middleware/before.ts": `
      import { defineEventHandler } from "h3"
      export default defineEventHandler((event) => globalThis.nitro2.before(event))`,
    "routes/rendered/[...].ts": `
      import { defineRenderHandler } from "nitropack/runtime"
      export default defineRenderHandler((event) => globalThis.nitro2.render(event))`,
  }
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(rootDir, name, ".."), { recursive: true })
    writeFileSync(join(rootDir, name), text)
  }
  const remove = () => rmSync(rootDir, { recursive: true, force: true })
  try {
    const nitro = await createNitro({ rootDir, preset: "node-listener", logLevel: 0, minify: false })
    await prepare(nitro)
    await build(nitro)
    await nitro.close()
    await import(pathToFileURL(join(rootDir, ".output/server/index.mjs")).href)
  } catch (error) {
    remove()
    throw error
  }
  return { nitro: (globalThis as unknown as { readonly nitro2: Nitro2 }).nitro2, remove }
}
