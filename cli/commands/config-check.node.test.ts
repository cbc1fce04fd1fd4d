import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it, vi } from "vitest"
import { folder, run } from "../testing/run.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

const GOOD = `
import { defineConfig, secret } from "tidemark/config"

const hosts: string[] = ["www.example.com"]

export default defineConfig({
  tokens: [{ name: "deploy", sha256: secret("DEPLOY_TOKEN_SHA256"), scopes: ["publish:*", "read:*"] }],
  namespaces: { blog: { hosts }, "catalog/products": {} },
  sources: {
    "contentful-main": { type: "contentful", secret: secret("SHARED_SECRET"), namespace: "blog" },
  },
  targets: {
    "www-varnish": { type: "varnish", endpoints: "dev", namespaces: ["blog"] },
    hook: { type: "http", url: "https://hooks.example.com", secret: secret("SHARED_SECRET"), namespaces: ["*"] },
  },
})
`

const BAD = `
export default {
  tokens: [{ name: "Deploy", sha256: "sesame-open-up", scopes: [] }],
  namespaces: { blog: { hostes: ["www.example.com"] } },
  sources: { cms: { type: "contentful", secret: "sesame-open-up", namespace: "blog" } },
}
`

const CROSSED = `
const cdn = { type: "fastly", service: "abc", token: { secret: "TOKEN" }, namespaces: ["*"], tenants: ["*"] }
const scopes = ["publish:*"]
const sha256 = "${"a".repeat(64)}"
export default {
  tokens: [{ name: "a", sha256, scopes }, { name: "b", sha256, scopes, tenant: "globex" }],
  namespaces: { blog: {} },
  tenants: { globex: { namespaces: { shop: { tagPrefix: "g-" } } } },
  targets: { cdn },
}
`

const check = (cwd: string, args: readonly string[] = [], env: Record<string, string> = {}) =>
  run(["config", "check", ...args], { cwd, env })

it("refuses prefixes by which one tenant purges another's pages, and names both", async () => {
  await using here = await folder()
  writeFileSync(join(here.path, "tidemark.config.ts"), CROSSED)
  const { code, stderr } = await check(here.path)
  expect(code).toBe(2)
  expect(stderr).toContain("tenants.globex.namespaces.shop.tagPrefix: lets tags of namespaces.blog")
})

describe("a configuration without mistakes", () => {
  it("is summed up, with the names of secrets that the environment lacks", async () => {
    await using here = await folder()
    const path = join(here.path, "tidemark.config.ts")
    writeFileSync(path, GOOD)
    const { code, stdout, stderr } = await check(here.path, [], { DEPLOY_TOKEN_SHA256: "a".repeat(64) })
    expect(code).toBe(0)
    expect(stdout).toBe(`${path} is valid

namespaces
  blog              www.example.com
  catalog/products

sources
  contentful-main  contentful  POST /v1/hooks/contentful-main  blog

targets
  www-varnish  varnish  blog
  hook         http     *

tokens
  deploy  publish:*, read:*
`)
    expect(stderr).toBe(
      "warning: the environment holds no SHARED_SECRET (sources.contentful-main.secret, targets.hook.secret)\n",
    )
    expect(stdout + stderr).not.toContain("a".repeat(64))
  })

  it("is one object with --json", async () => {
    await using here = await folder()
    const path = join(here.path, "tidemark.config.ts")
    writeFileSync(path, GOOD)
    const { code, stdout } = await check(here.path, ["--json"])
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toEqual({
      ok: true,
      file: path,
      namespaces: ["blog", "catalog/products"],
      sources: {
        "contentful-main": { type: "contentful", namespace: "blog", webhook: "/v1/hooks/contentful-main" },
      },
      targets: {
        "www-varnish": { type: "varnish", namespaces: ["blog"] },
        hook: { type: "http", namespaces: ["*"] },
      },
      tokens: [{ name: "deploy", scopes: ["publish:*", "read:*"] }],
      missingSecrets: [
        { name: "DEPLOY_TOKEN_SHA256", paths: ["tokens.0.sha256"] },
        { name: "SHARED_SECRET", paths: ["sources.contentful-main.secret", "targets.hook.secret"] },
      ],
    })
  })
})

describe("a configuration that comes to nothing", () => {
  const MISTYPED = `
    export default {
      tokens: [{ name: "deploy", sha256: { secret: "DEPLOY_TOKEN_SHA256" }, scopes: ["publish:blgo"] }],
      namespaces: { blog: {} },
      targets: { a: { type: "print", namespaces: ["blgo"] }, b: { type: "cloudfare", namespaces: ["*"] } },
      notify: { oncall: { url: "https://hooks.example.com", secret: { secret: "N" }, events: ["faild"] } },
    }`

  it("is exit 2, and each mistake told with what was meant", async () => {
    await using here = await folder()
    writeFileSync(join(here.path, "tidemark.config.mjs"), MISTYPED)
    const { code, stdout, stderr } = await check(here.path)
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" })
    expect(stderr).toContain("the configuration has 4 mistakes:\n")
    for (const path of ["tokens.0.scopes.0", "targets.a.namespaces.0"])
      expect(stderr).toContain(`  ${path}: names what is not declared in namespaces; did you mean blog?\n`)
    expect(stderr).toMatch(/ {2}targets\.b\.type: .*; did you mean cloudflare\?\n/)
    expect(stderr).toContain("  notify.oncall.events.0: is no event; did you mean failed?")
  })

  it("starts nothing", async () => {
    await using here = await folder()
    writeFileSync(join(here.path, "tidemark.config.mjs"), MISTYPED)
    for (const command of ["dev", "relay"]) {
      const { code, stdout, stderr } = await run([command], {
        cwd: here.path,
        env: { REDIS_URL: "redis://127.0.0.1:1" },
      })
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" })
      expect(stderr).toContain("  targets.a.namespaces.0: names what is not declared")
    }
  })

  it("is warned of, where it does no harm", async () => {
    await using here = await folder()
    writeFileSync(
      join(here.path, "tidemark.config.mjs"),
      `export default { namespaces: { blog: {}, shop: {} }, relay: { cors: ["https://www.example.com"] },
        targets: { a: { type: "print", namespaces: ["blog"] } } }`,
    )
    const { code, stderr } = await check(here.path)
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr:
        "warning: relay.cors: nothing reads it yet: no other site may ask the relay\n" +
        "warning: namespaces.shop: no target purges it: what is published there only raises epochs\n",
    })
    const { stdout } = await check(here.path, ["--json"])
    expect(JSON.parse(stdout)).toMatchObject({
      ok: true,
      warnings: [{ path: "relay.cors" }, { path: "namespaces.shop" }],
    })
  })
})

describe("a secret that cannot be right", () => {
  it("is exit 2, by its name and never its value, from the environment and from .dev.vars", async () => {
    await using here = await folder()
    const path = join(here.path, "tidemark.config.ts")
    writeFileSync(path, GOOD)
    writeFileSync(join(here.path, ".dev.vars"), `DEPLOY_TOKEN_SHA256="tm_sesame-open-up"\n`)
    const env = { SHARED_SECRET: "sesame\n" }
    const { code, stdout, stderr } = await check(here.path, [], env)
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" })
    expect(stderr).toContain(`${path}: the environment holds secrets that cannot be right:\n`)
    expect(stderr).toContain("  tokens.0.sha256: DEPLOY_TOKEN_SHA256 holds a token")
    for (const place of ["sources.contentful-main.secret", "targets.hook.secret"])
      expect(stderr).toContain(`  ${place}: SHARED_SECRET begins or ends with white space\n`)
    const json = await check(here.path, ["--json"], env)
    expect(JSON.parse(json.stdout)).toMatchObject({
      ok: false,
      errors: [{ path: "tokens.0.sha256", name: "DEPLOY_TOKEN_SHA256" }, {}, {}],
    })
    expect(stderr + json.stdout + json.stderr).not.toContain("sesame")
  })
})

describe("a configuration with mistakes", () => {
  it("tells all of them by path, prints no value, and is exit 2", async () => {
    await using here = await folder()
    writeFileSync(join(here.path, "tidemark.config.mjs"), BAD)
    for (const json of [false, true]) {
      const { code, stdout, stderr } = await check(here.path, json ? ["--json"] : [])
      expect(code).toBe(2)
      const paths = [
        "tokens.0.name",
        "tokens.0.sha256",
        "tokens.0.scopes",
        "namespaces.blog.hostes",
        "sources.cms.secret",
      ]
      for (const path of paths) expect(stderr).toContain(`  ${path}: `)
      expect(stdout + stderr).not.toContain("sesame")
      if (!json) expect(stdout).toBe("")
      else {
        const answer: { ok: boolean; errors: { path: string }[] } = JSON.parse(stdout)
        expect(answer).toMatchObject({ ok: false, file: join(here.path, "tidemark.config.mjs") })
        expect(answer.errors.map(({ path }) => path).toSorted()).toEqual(paths.toSorted())
      }
    }
  })

  it.for([
    { mistake: "no default export", text: "export const config = {}", told: "has no default export" },
    {
      mistake: "another's error",
      text: 'throw new Error("not today")',
      told: "cannot be imported: not today (line 1:7)",
    },
    {
      mistake: "a syntax error, whose line is not repeated",
      text: '\nexport default { secret: "sesame-open-up" "oops" }',
      told: "cannot be imported: ",
    },
    {
      mistake: "a secret's wrong name",
      text: 'import { secret } from "tidemark/config"\nsecret("a")',
      told: "(line 2:",
    },
  ])("$mistake is exit 2", async ({ text, told }) => {
    await using here = await folder()
    writeFileSync(join(here.path, "tidemark.config.mjs"), text)
    const { code, stdout, stderr } = await check(here.path)
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" })
    expect(stderr).toContain(told)
    expect(stderr).not.toContain("sesame")
    expect(stderr).not.toMatch(/^\s+at /m)
  })
})

const named = (name: string) => `export default { namespaces: { "${name}": {} } }`

function namespacesOf(stdout: string): readonly string[] {
  const { namespaces }: { namespaces: string[] } = JSON.parse(stdout)
  return namespaces
}

describe("which file", () => {
  it("is --config, else TIDEMARK_CONFIG, else .ts, .js or .mjs here, in that order", async () => {
    await using here = await folder()
    mkdirSync(join(here.path, "elsewhere"))
    const put = (file: string, name: string) => writeFileSync(join(here.path, file), named(name))
    const found = async (args: readonly string[] = [], env: Record<string, string> = {}) =>
      namespacesOf((await check(here.path, [...args, "--json"], env)).stdout)
    put("package.json", "")
    writeFileSync(join(here.path, "package.json"), '{ "type": "module" }')
    put("elsewhere/given.mjs", "given")
    put("elsewhere/environment.mjs", "environment")
    put("tidemark.config.mjs", "mjs")
    expect(await found()).toEqual(["mjs"])
    put("tidemark.config.js", "js")
    expect(await found()).toEqual(["js"])
    put("tidemark.config.ts", "ts")
    expect(await found()).toEqual(["ts"])
    const env = { TIDEMARK_CONFIG: "elsewhere/environment.mjs" }
    expect(await found([], env)).toEqual(["environment"])
    expect(await found(["--config", "elsewhere/given.mjs"], env)).toEqual(["given"])
  })

  it("is told, where there is none", async () => {
    await using here = await folder()
    const { code, stderr } = await check(here.path)
    expect(code).toBe(2)
    expect(stderr).toContain("none of tidemark.config.ts, tidemark.config.js, tidemark.config.mjs lies here")
    const missing = join(here.path, "nowhere.ts")
    expect((await check(here.path, [], { TIDEMARK_CONFIG: missing })).stderr).toContain(`at ${missing}`)
  })
})
