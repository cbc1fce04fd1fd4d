/**
 * Holds what a site loads to its budgets, in bytes of gzip: the reader of epochs by itself, and what each plug adds on
 * the way of a hit. What is only loaded when the first page is made, or where a runtime has no Cache API, is told beside.
 */
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { build } from "esbuild"

const CORE_BUDGET = 4_608
const PLUG_BUDGET = 4_224

const client = join(import.meta.dirname, "../client")
const CORE = `export { createTidemark } from "./tidemark.ts"`
const WORKER_STORE = `export { workerStore } from "./store.ts"`

const PLUGS = [
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
]

interface Size {
  /** Of what runs before the first request. */
  readonly early: number
  /** Of what is loaded when it is needed. */
  readonly late: number
}

async function sizeOf(...lines: readonly string[]): Promise<Size> {
  const { outputFiles, metafile } = await build({
    stdin: { contents: lines.join("\n"), resolveDir: client, loader: "ts", sourcefile: "entry.ts" },
    bundle: true,
    splitting: true,
    format: "esm",
    minify: true,
    platform: "neutral",
    target: "es2024",
    outdir: "/out",
    write: false,
    metafile: true,
    logLevel: "error",
  })
  // The entry, and what it imports before it runs.
  const names = Object.keys(metafile.outputs)
  const entry = names.find((name) => metafile.outputs[name]?.entryPoint?.includes("entry.ts"))
  const early = new Set(entry === undefined ? [] : [entry])
  for (const name of early)
    for (const { path, kind } of metafile.outputs[name]?.imports ?? [])
      if (kind === "import-statement") early.add(path)
  const isEarly = ({ path }: { readonly path: string }) =>
    [...early].some((name) => path.endsWith(name.split("/").at(-1) ?? ""))
  const compressed = (files: typeof outputFiles) =>
    gzipSync(files.map(({ text }) => text).join("\n"), { level: 9 }).length
  return {
    early: compressed(outputFiles.filter(isEarly)),
    late: compressed(outputFiles.filter((file) => !isEarly(file))),
  }
}

let isOver = false
const say = (what: string, size: number, budget: number, late = 0) => {
  isOver ||= size > budget
  const rest = late > 100 ? `; ${late} more when it makes its first page` : ""
  process.stdout.write(
    `${what.padEnd(20)} ${String(size).padStart(5)} bytes of gzip, ${size > budget ? "over" : "within"} ${budget}${rest}\n`,
  )
}

const core = await sizeOf(CORE)
say("tidemark/client", core.early, CORE_BUDGET)
const withStore = await sizeOf(CORE, WORKER_STORE)
for (const name of PLUGS) {
  const plug = `export * from "./${name}.ts"`
  // Its entry for a configuration makes the reader and the store itself.
  const isWhole = name === "astro"
  const lines = isWhole ? [WORKER_STORE, plug, `export { default } from "./${name}.ts"`] : [plug]
  const { early, late } = await sizeOf(CORE, ...lines)
  say(`tidemark/${name}`, early - (isWhole ? withStore : core).early, PLUG_BUDGET, late)
}
if (isOver) process.exitCode = 1
