/**
 * Holds what a site bundles to its budgets, in bytes of gzip: the reader of epochs by itself, and what each plug adds.
 * What is only loaded where a runtime has no Cache API is not counted.
 */
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { build } from "esbuild"

const CORE_BUDGET = 4_608
const PLUG_BUDGET = 4_096

const client = join(import.meta.dirname, "../client")
const CORE = `export { createTidemark } from "./tidemark.ts"`
const WORKER_STORE = `export { workerStore } from "./store.ts"`

const PLUGS = ["astro", "fetch", "hono", "next", "next-isr", "next-redis", "nitro", "opennext", "sveltekit"]

async function sizeOf(...lines: readonly string[]): Promise<number> {
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
  const entry = names.find(
    (name) => metafile.outputs[name]?.entryPoint !== undefined && !name.includes("memory-pages"),
  )
  const early = new Set(entry === undefined ? [] : [entry])
  for (const name of early)
    for (const { path, kind } of metafile.outputs[name]?.imports ?? [])
      if (kind === "import-statement") early.add(path)
  const texts = outputFiles.filter(({ path }) =>
    [...early].some((name) => path.endsWith(name.split("/").at(-1) ?? "")),
  )
  return gzipSync(texts.map(({ text }) => text).join("\n"), { level: 9 }).length
}

let isOver = false
const say = (what: string, size: number, budget: number) => {
  isOver ||= size > budget
  process.stdout.write(
    `${what.padEnd(20)} ${String(size).padStart(5)} bytes of gzip, ${size > budget ? "over" : "within"} ${budget}\n`,
  )
}

const core = await sizeOf(CORE)
say("tidemark/client", core, CORE_BUDGET)
const withStore = await sizeOf(CORE, WORKER_STORE)
for (const name of PLUGS) {
  const plug = `export * from "./${name}.ts"`
  // Its entry for a configuration makes the reader and the store itself.
  const isWhole = name === "astro"
  const lines = isWhole ? [WORKER_STORE, plug, `export { default } from "./${name}.ts"`] : [plug]
  say(`tidemark/${name}`, (await sizeOf(CORE, ...lines)) - (isWhole ? withStore : core), PLUG_BUDGET)
}
if (isOver) process.exitCode = 1
