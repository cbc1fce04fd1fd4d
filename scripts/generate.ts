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

/** What means something to Lua or to Redis: all other names are ours. */
const KNOWN = new Set(
  `and break do else elseif end false for function if in local nil not or repeat return then true until while
  ipairs pairs tonumber tostring type unpack math max min ceil floor string find format gsub match sub table concat
  redis call pcall error_reply err ok KEYS ARGV`.split(/\s+/),
)

const TOKENS = /'[^'\n]*'|"[^"\n]*"|[A-Za-z_]\w*|\d+(?:\.\d+)?|\.{2,3}|[<>=~]=|[^\s]/g

/**
 * Comments, spaces and long names are for readers of the file; the Worker carries the text, and a publish that meets a
 * fresh server sends it. The same name becomes the same letters wherever it stands, so that nothing changes but names.
 * Lines stay lines: Redis names them in its errors.
 */
function strip(lua: string): string {
  const lines = lua
    .replaceAll(/--\[\[[\s\S]*?\]\]/g, "")
    .split("\n")
    .map((line) => line.replace(/(^|\s)--.*$/, "").match(TOKENS) ?? [])
    .filter((tokens) => tokens.length > 0)
  const uses = new Map<string, number>()
  for (const token of lines.flat())
    if (/^[A-Za-z_]/.test(token) && !KNOWN.has(token)) uses.set(token, (uses.get(token) ?? 0) + 1)
  const free = letters(new Set([...KNOWN, ...uses.keys()].filter((name) => name.length < 3)))
  const short = new Map(
    [...uses.keys()]
      .filter((name) => name.length > 2)
      .toSorted((a, b) => (uses.get(b) ?? 0) - (uses.get(a) ?? 0))
      .map((name) => [name, free.next().value ?? name]),
  )
  return lines
    .map((tokens) =>
      tokens.reduce((line, token) => {
        const name = short.get(token) ?? token
        // Also `1 ..`, which would be half a number, and `- -`, which would be a comment.
        const isApart =
          (/\w$/.test(line) && /^\w/.test(name)) ||
          (/\d$/.test(line) && name.startsWith("..")) ||
          (line.endsWith("-") && name === "-")
        return line + (isApart ? " " : "") + name
      }, ""),
    )
    .join("\n")
}

/** a to Z, then two of them, without what is taken. */
function* letters(taken: ReadonlySet<string>): Generator<string, undefined> {
  const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".split("")
  for (const first of ["", ...alphabet])
    for (const second of alphabet) if (!taken.has(first + second)) yield first + second
}

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
