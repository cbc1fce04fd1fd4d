/**
 * Builds the programs into `dist/programs/`, each with all that it imports: so nobody who only reads epochs installs what
 * a relay is made of, and what runs is what was tried. Modules that sites import are built one by one, by `tsc`.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { build, type Metafile } from "esbuild"

const root = join(import.meta.dirname, "..")
const folder = join(root, "dist/programs")

/** What `cli/tidemark.js` and `tidemark dev` start. */
const ENTRIES = ["cli/main.ts", "cli/dev/worker-part.ts", "relay-node/main.ts", "relay-node/gateway/main.ts"]

/** What is in the programs and not ours: each package, its version, and its licence as it came. */
function licensesIn({ inputs }: Metafile): string {
  const packages = Object.keys(inputs).flatMap(
    (path) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? [],
  )
  const texts = [...new Set(packages)].toSorted().map((path) => {
    const manifest = readFileSync(join(root, path, "package.json"), "utf8")
    const { name, version, license } = JSON.parse(manifest) as Readonly<Record<string, string>>
    const file = readdirSync(join(root, path)).find((each) => /^licen[cs]e/i.test(each))
    const text = file === undefined ? "" : `\n${readFileSync(join(root, path, file), "utf8").trim()}\n`
    return `${name} ${version} (${license})\n${text}`
  })
  return texts.join(`\n${"-".repeat(80)}\n\n`)
}

rmSync(folder, { recursive: true, force: true })
const { metafile } = await build({
  entryPoints: ENTRIES.map((entry) => join(root, entry)),
  absWorkingDir: root,
  outbase: root,
  outdir: folder,
  chunkNames: "chunks/[name]-[hash]",
  bundle: true,
  // A command loads only what it needs, as it does in a clone.
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node22.19",
  // What came as CommonJS asks for Node's own modules by it.
  banner: {
    js: 'import { createRequire as makeRequire } from "node:module"; const require = makeRequire(import.meta.url);',
  },
  metafile: true,
  logLevel: "warning",
})
mkdirSync(folder, { recursive: true })
writeFileSync(join(folder, "THIRD-PARTY-LICENSES.txt"), licensesIn(metafile))
