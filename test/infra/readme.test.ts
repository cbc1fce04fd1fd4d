// The five minutes named a variable by which another tool logs in, and a token that no step made. Each name in them is
// held against the configuration that they show.
import { existsSync, globSync } from "node:fs"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { describe, expect, it } from "vitest"
import { loadConfigFile } from "../../cli/config-file.ts"
import { checkConfig } from "../../protocol/config/checks.ts"
import type { Config } from "../../protocol/config/schema.ts"
import { allIn, read, root, secretsOf } from "./repository.ts"

/** What the first configuration of a page says. */
async function configOf(page: string): Promise<Config> {
  const [, text = ""] = /```ts\nimport \{[^\n]*\} from "tidemark\/config"\n([^`]*)```/.exec(page) ?? []
  const directory = await mkdtemp(join(tmpdir(), "tidemark-page-"))
  try {
    const file = join(directory, "tidemark.config.mjs")
    // Nothing is installed there: these two are all that a configuration needs.
    const ours = "const defineConfig = (config) => config\nconst secret = (name) => ({ secret: name })\n"
    await writeFile(file, ours + text)
    return (await loadConfigFile(file, checkConfig)).config
  } finally {
    await rm(directory, { recursive: true })
  }
}

const readme = read("README.md")
const minutes = readme.slice(
  readme.indexOf("## In front of your own CDN in five minutes"),
  readme.indexOf("## At request time"),
)
const config = await configOf(minutes)

describe("the five minutes", () => {
  it("make each token that the configuration names, with the scopes that it has there, and keep it", () => {
    const made = allIn(minutes, /^npx tidemark (token create .*)$/gm).map((line) => ({
      name: /create (\S+)/.exec(line)?.[1],
      scopes: allIn(line, /--scope '?([^\s']+)/g),
      isKept: line.endsWith(" --write"),
    }))
    expect(made).toEqual(config.tokens.map(({ name, scopes }) => ({ name, scopes, isKept: true })))
    const used = new Set(allIn(minutes, /\.tidemark\/(\w+)\.token\)/g))
    expect(used).toEqual(new Set(config.tokens.map(({ name }) => name)))
  })

  it("give the container every secret that its relay needs", () => {
    const [run = ""] = /^docker run [^`]*$/m.exec(minutes) ?? []
    const given = allIn(run, / -e (\w+)/g)
    expect(new Set(given)).toEqual(new Set(["REDIS_URL", ...secretsOf(config, "tokens", "targets")]))
  })

  it("export what targets need, under no name by which wrangler logs in", () => {
    for (const name of secretsOf(config, "targets")) expect(minutes).toContain(` ${name}=…`)
    const pages = ["README.md", ...globSync(["docs/**/*.md", "examples/*/*.md", "infra/**/*"], { cwd: root })]
    const wrangler = pages.filter(
      (page) => /\.\w+$/.test(page) && read(page).includes('secret("CLOUDFLARE_API_TOKEN")'),
    )
    expect(wrangler).toEqual([])
  })

  it("link to what is there", () => {
    const pages = allIn(minutes, /\]\((?!https?:)([^)#]+)/g)
    for (const page of pages)
      expect(existsSync(join(dirname(join(root, "README.md")), page)), page).toBe(true)
  })
})

it("the example of docs/configuration.md is a configuration", async () => {
  expect((await configOf(read("docs/configuration.md"))).targets).toHaveProperty("www-varnish")
})
