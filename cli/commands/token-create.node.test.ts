import { createHash } from "node:crypto"
import { readdirSync } from "node:fs"
import { describe, expect, it, vi } from "vitest"
import { parseConfig } from "../../protocol/config/config.ts"
import { folder, run } from "../testing/run.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

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
