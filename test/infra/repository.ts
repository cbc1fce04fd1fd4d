import { readFileSync } from "node:fs"
import { join } from "node:path"
import { resolveSecrets } from "../../protocol/config/config.ts"
import type { Config } from "../../protocol/config/schema.ts"

/** What the repository says of itself, for tests that hold a file's words against it. */

export const root = join(import.meta.dirname, "../..")

export const read = (...path: string[]): string => readFileSync(join(root, ...path), "utf8")

/** The first group of each match. */
export const allIn = (text: string, pattern: RegExp): string[] =>
  [...text.matchAll(pattern)].map(([, name = ""]) => name)

export const scripts = (JSON.parse(read("package.json")) as { scripts: Record<string, string> }).scripts

/** What `tidemark <part>` starts by itself. */
export const PARTS = allIn(/const PARTS = \{(.*)\}/.exec(read("cli/tidemark.js"))?.[1] ?? "", /(\w+):/g)

/** Where the relay listens unless told otherwise. */
export const RELAY_PORT = Number(/TIDEMARK_RELAY_PORT\W+(\d+)/.exec(read("relay-node/main.ts"))?.[1])

/** Names that a configuration reads by `secret("NAME")` below some of its keys. */
export const secretsOf = (config: Config, ...keys: string[]): string[] =>
  resolveSecrets(config, {})
    .missing.filter(({ path }) => keys.some((key) => path.startsWith(`${key}.`)))
    .map(({ name }) => name)
    .toSorted()
