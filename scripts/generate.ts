/**
 * Writes every `*.gen.ts`: Lua texts as a module, as a Worker has no file system, and the API's description. And
 * `docs/sources.md` and `docs/targets.md`, from what the code says of itself.
 * `--check` writes nothing and fails where a generated file is not what this would write.
 */
import { createHash } from "node:crypto"
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const root = join(dirname(fileURLToPath(import.meta.url)), "..")

/** Comments and indentation are for readers of the file; every publish that meets a fresh server would send them. */
const strip = (lua: string): string =>
  lua
    .replaceAll(/--\[\[[\s\S]*?\]\]/g, "")
    .split("\n")
    .map((line) => line.replace(/(^|\s)--.*$/, "").trim())
    .filter((line) => line !== "")
    .join("\n")

const sha1 = (text: string): string => createHash("sha1").update(text).digest("hex")

/** Upstash locks the whole database for a script, unless its first line says that it names all its keys. */
const UPSTASH_FLAGS = "#!lua flags=allow-key-locking\n"

export function scriptsModule(): string {
  const folder = join(root, "protocol/lua")
  const parts = readdirSync(folder)
    .filter((file) => file.endsWith(".lua"))
    .toSorted()
    .map((file) => {
      const name = file.replace(/\.lua$/, "")
      const text = strip(readFileSync(join(folder, file), "utf8"))
      return `export const ${name}Script: Script = {
  name: ${JSON.stringify(name)},
  text: ${JSON.stringify(text)},
  sha1: ${JSON.stringify(sha1(text))},
  upstashSha1: ${JSON.stringify(sha1(UPSTASH_FLAGS + text))},
}
`
    })
  return `// Written by scripts/generate.ts from protocol/lua/*.lua. Do not edit.
import type { Script } from "./store.ts"

${parts.join("\n")}`
}

/** As it comes out: a schema library in the bundle would weigh more than all that it describes. */
async function openApiModule(): Promise<string> {
  const { openApi } = await import("./openapi.ts")
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string }
  // As an object, whose names a minifier writes without quotes; of a function, as hardly any isolate is asked for it.
  return `// Written by scripts/generate.ts from scripts/openapi.ts. Do not edit.
export const describedApi = () => (${JSON.stringify(openApi(version))})
`
}

const FILES: Readonly<Record<string, () => string | Promise<string>>> = {
  "protocol/scripts.gen.ts": scriptsModule,
  "worker/openapi.gen.ts": openApiModule,
  "docs/sources.md": async () => (await import("./source-matrix.ts")).sourceMatrix(),
  "docs/targets.md": async () => (await import("./target-matrix.ts")).targetMatrix(),
}

const read = (path: string): string | undefined => {
  try {
    return readFileSync(path, "utf8")
  } catch {
    return undefined
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const check = process.argv.includes("--check")
  for (const [file, make] of Object.entries(FILES)) {
    const path = join(root, file)
    const text = await make()
    if (read(path) === text) continue
    if (check) {
      process.stderr.write(`${file} is not up to date: npm run generate\n`)
      process.exitCode = 1
    } else {
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, text)
    }
  }
}
