import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { parseEnv } from "node:util"
import { describe, expect, it, vi } from "vitest"
import { parseConfig } from "../../protocol/config/config.ts"
import { folder, run } from "../testing/run.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

const CREATE = ["token", "create", "deploy", "--scope", "publish:*"]

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex")

it("prints the token once on standard output, the line for the file on standard error, and stores nothing", async () => {
  await using here = await folder()
  const args = [
    "deploy",
    "--scope",
    "publish:*",
    "--scope",
    "read:catalog/products",
    "--tenant",
    "acme",
    "--expires",
    "2999-01-31",
  ]
  const { code, stdout, stderr } = await run(["token", "create", ...args], { cwd: here.path })
  expect(code).toBe(0)
  expect(stdout).toMatch(/^tm_[A-Za-z0-9_-]{43}\n$/)
  const token = stdout.trim()
  expect(stderr).toBe(`add this to tokens in the configuration file, and deploy:
  { name: "deploy", sha256: "${sha256(token)}", scopes: ["publish:*", "read:catalog/products"], tenant: "acme", expires: "2999-01-31" },
`)
  expect(stderr).not.toContain(token)
  expect(readdirSync(here.path)).toEqual([])
})

it("is one object with --json, whose entry the configuration takes", async () => {
  const { code, stdout } = await run(["token", "create", "site", "--scope", "epochs:blog", "--json"])
  expect(code).toBe(0)
  const { token, ...entry }: { token: string; sha256: string } = JSON.parse(stdout)
  expect(entry.sha256).toBe(sha256(token))
  expect(parseConfig({ tokens: [entry] }).tokens).toEqual([
    { name: "site", scopes: ["epochs:blog"], tenant: "default", sha256: entry.sha256 },
  ])
})

it("makes another each time", async () => {
  const args = ["token", "create", "a", "--scope", "metrics"]
  const [one, other] = await Promise.all([run(args), run(args)])
  expect(one.stdout).not.toBe(other.stdout)
})

describe("refuses by the configuration's own schema, all at once, and makes none", () => {
  it.for([
    {
      args: ["Deploy", "--scope", "write:*", "--scope", "read:a b"],
      paths: ["name", "scopes.0", "scopes.1"],
    },
    { args: ["deploy", "--scope", "operate", "--tenant", "A"], paths: ["tenant"] },
    { args: ["deploy", "--scope", "operate", "--expires", "2027-02-30"], paths: ["expires"] },
  ])("$args", async ({ args, paths }) => {
    const { code, stdout, stderr } = await run(["token", "create", ...args])
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" })
    expect(
      stderr
        .split("\n")
        .slice(1, -1)
        .map((line) => line.trim().split(":")[0]),
    ).toEqual(paths)
  })
})

it("warns of a day that is over", async () => {
  const { code, stderr } = await run([
    "token",
    "create",
    "a",
    "--scope",
    "metrics",
    "--expires",
    "2001-01-01",
  ])
  expect(code).toBe(0)
  expect(stderr).toContain("warning: that day is over")
})

const CONFIG = (hashes: string) => `
  export default {
    namespaces: { blog: {} },
    tokens: [{ name: "deploy", sha256: ${hashes}, scopes: ["publish:*"] }],
  }`

const BY_NAME = CONFIG('{ secret: "DEPLOY_HASH" }')

describe("where the configuration reads the hash by name", () => {
  it("shows it as the environment has it, and not as a line that would stand there twice", async () => {
    await using here = await folder()
    writeFileSync(join(here.path, "tidemark.config.mjs"), BY_NAME)
    const { code, stdout, stderr } = await run(CREATE, { cwd: here.path })
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: `the configuration reads its hash by name; give it to the Worker and the relay as that:
  DEPLOY_HASH=${sha256(stdout.trim())}
`,
    })
    expect(readdirSync(here.path)).toEqual(["tidemark.config.mjs"])
  })

  it("says that the scopes of the configuration count", async () => {
    await using here = await folder()
    writeFileSync(join(here.path, "tidemark.config.mjs"), BY_NAME)
    const { stderr } = await run([...CREATE, "--scope", "operate"], { cwd: here.path })
    expect(stderr).toContain(
      "warning: the configuration gives deploy other scopes, and those count: publish:*\n",
    )
  })

  it("needs none that is without mistakes, unless it is written for", async () => {
    await using here = await folder()
    writeFileSync(join(here.path, "tidemark.config.mjs"), "export default { surprise: true }")
    expect(await run(CREATE, { cwd: here.path })).toMatchObject({ code: 0 })
    expect(await run([...CREATE, "--write"], { cwd: here.path })).toMatchObject({ code: 2, stdout: "" })
  })
})

describe("--write", () => {
  const git = (cwd: string, ...args: string[]) =>
    execFileSync("git", ["-c", "user.name=a", "-c", "user.email=a@b", ...args], { cwd, encoding: "utf8" })
  const write = (cwd: string, args = CREATE) => run([...args, "--write"], { cwd })
  const modeOf = (...path: string[]) => statSync(join(...path)).mode & 0o777

  /** What it refuses, and leaves as it was. */
  async function refuses(cwd: string, reason: RegExp) {
    const { code, stdout, stderr } = await write(cwd)
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" })
    expect(stderr).toMatch(reason)
    expect(stderr).not.toMatch(/tm_/)
  }

  it("keeps the token and its hash for their owner alone, where git sees neither, and prints neither", async () => {
    await using here = await folder()
    git(here.path, "init", "--quiet")
    writeFileSync(join(here.path, ".gitignore"), ".dev.vars\n")
    writeFileSync(join(here.path, "tidemark.config.mjs"), BY_NAME)
    writeFileSync(join(here.path, ".dev.vars"), "OTHER=kept", { mode: 0o644 })
    const { code, stdout, stderr } = await write(here.path)
    expect({ code, stdout }).toEqual({ code: 0, stdout: ".tidemark/deploy.token\n" })
    const token = readFileSync(join(here.path, ".tidemark/deploy.token"), "utf8").trim()
    expect(token).toMatch(/^tm_/)
    expect(parseEnv(readFileSync(join(here.path, ".dev.vars"), "utf8"))).toEqual({
      OTHER: "kept",
      DEPLOY_HASH: sha256(token),
    })
    for (const file of [".tidemark/deploy.token", ".dev.vars"]) expect(modeOf(here.path, file)).toBe(0o600)
    expect(stdout + stderr).not.toContain(token)
    expect(stderr).not.toContain("add this to tokens")
    git(here.path, "add", "--all")
    expect(git(here.path, "status", "--short").trim().split("\n")).toEqual([
      "A  .gitignore",
      "A  tidemark.config.mjs",
    ])
    // A configuration that is checked then finds the hash.
    expect(await run(["config", "check"], { cwd: here.path })).toMatchObject({ code: 0, stderr: "" })
  })

  it("lies beside the configuration, under a name made of the token's where it has none yet", async () => {
    await using here = await folder()
    mkdirSync(join(here.path, "deploy"))
    writeFileSync(join(here.path, "deploy/my.config.mjs"), "export default { namespaces: { blog: {} } }")
    const args = ["token", "create", "ci-bot", "--scope", "publish:blog", "--write", "--json"]
    const env = { TIDEMARK_CONFIG: "deploy/my.config.mjs" }
    const { code, stdout, stderr } = await run(args, { cwd: here.path, env })
    expect(code).toBe(0)
    const made: Record<string, string> = JSON.parse(stdout)
    expect(made).toEqual({
      name: "ci-bot",
      scopes: ["publish:blog"],
      sha256: made["sha256"],
      tokenFile: join(here.path, "deploy/.tidemark/ci-bot.token"),
      varsFile: join(here.path, "deploy/.dev.vars"),
      variable: "CI_BOT_TOKEN_SHA256",
    })
    expect(sha256(readFileSync(made["tokenFile"]!, "utf8").trim())).toBe(made["sha256"])
    expect(stderr).toContain(
      '{ name: "ci-bot", sha256: secret("CI_BOT_TOKEN_SHA256"), scopes: ["publish:blog"] },\n',
    )
  })

  it("takes the second name of a list while the first is held", async () => {
    await using here = await folder()
    writeFileSync(join(here.path, "tidemark.config.mjs"), CONFIG('[{ secret: "OLD" }, { secret: "NEW" }]'))
    writeFileSync(join(here.path, ".dev.vars"), `OLD="${"0".repeat(64)}"\n`)
    expect(await write(here.path)).toMatchObject({ code: 0 })
    expect(readFileSync(join(here.path, ".dev.vars"), "utf8")).toMatch(/^OLD="0+"\nNEW=[0-9a-f]{64}\n$/)
  })

  it("refuses what git would not ignore, or tracks", async () => {
    await using here = await folder()
    git(here.path, "init", "--quiet")
    await refuses(here.path, /git would not ignore \.dev\.vars: add it to \.gitignore/)
    writeFileSync(join(here.path, ".gitignore"), ".dev.vars\n")
    mkdirSync(join(here.path, ".tidemark"), { recursive: true })
    writeFileSync(join(here.path, ".tidemark/.gitignore"), "!*.token\n")
    await refuses(here.path, /git would not ignore \.tidemark\/deploy\.token/)
    expect(readdirSync(join(here.path, ".tidemark"))).toEqual([".gitignore"])
    writeFileSync(join(here.path, ".tidemark/.gitignore"), "*\n")
    writeFileSync(join(here.path, ".dev.vars"), "A=b\n")
    git(here.path, "add", "--force", ".dev.vars")
    git(here.path, "commit", "--quiet", "--message", "by mistake")
    await refuses(here.path, /git would not ignore \.dev\.vars: .*stop tracking it/)
    expect(readFileSync(join(here.path, ".dev.vars"), "utf8")).toBe("A=b\n")
  })

  it("refuses where git cannot tell", async () => {
    await using here = await folder()
    writeFileSync(join(here.path, ".git"), "gitdir: /nonexistent\n")
    await refuses(here.path, /git does not tell whether it ignores/)
  })

  it("replaces no token and no hash", async () => {
    await using here = await folder()
    expect(await write(here.path)).toMatchObject({ code: 0 })
    const before = [".tidemark/deploy.token", ".dev.vars"].map((file) =>
      readFileSync(join(here.path, file), "utf8"),
    )
    await refuses(here.path, /\.tidemark\/deploy\.token is there already/)
    const after = [".tidemark/deploy.token", ".dev.vars"].map((file) =>
      readFileSync(join(here.path, file), "utf8"),
    )
    expect(after).toEqual(before)
    await using other = await folder()
    writeFileSync(join(other.path, ".dev.vars"), "DEPLOY_TOKEN_SHA256=x\n")
    await refuses(other.path, /\.dev\.vars holds DEPLOY_TOKEN_SHA256 already/)
    expect(readdirSync(join(other.path, ".tidemark"))).toEqual([".gitignore"])
  })

  it("does not take the place of the token of development", async () => {
    await using here = await folder()
    const { code, stderr } = await write(here.path, ["token", "create", "dev", "--scope", "read:*"])
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining("that of tidemark dev") })
  })
})
