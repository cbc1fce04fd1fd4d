/** Puts what `tidemark dev` shows without a configuration into the package: the demo's configuration and its site. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { transformSync } from "esbuild"
import { bundleWorker } from "../cli/dev/bundle.ts"

const root = join(dirname(fileURLToPath(import.meta.url)), "..")
const write = (path: string, text: string) => {
  mkdirSync(dirname(join(root, path)), { recursive: true })
  writeFileSync(join(root, path), text)
}

const config = transformSync(readFileSync(join(root, "tidemark.config.ts"), "utf8"), {
  loader: "ts",
  format: "esm",
})
write("dist/tidemark.config.js", config.code)

const site = join(root, "examples/demo/site.ts")
write(
  "dist/examples/demo/site.js",
  await bundleWorker(`export { default } from ${JSON.stringify(site)}`, site),
)
