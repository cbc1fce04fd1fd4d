import { tmpdir } from "node:os"
import type { Command } from "commander"
import { describe, expect, it } from "vitest"
import { createProgram } from "./main.ts"
import { fakeWorker } from "./testing/fake-worker.ts"
import { ID, problemOf, recordOf } from "./testing/records.ts"
import { run, TOKEN } from "./testing/run.ts"

/** An address that nobody listens at. */
const NOBODY = await fakeWorker(undefined, []).then(async (worker) => {
  await worker[Symbol.asyncDispose]()
  return worker.url
})

const nothing = async () => {}

function commandsOf(command: Command, path: readonly string[] = []): string[][] {
  return command.commands.flatMap((child) => {
    const here = [...path, child.name()]
    return child.commands.length > 0 ? commandsOf(child, here) : [here]
  })
}

const COMMANDS = commandsOf(createProgram(nothing))

describe("help", () => {
  it("knows every command", () => {
    expect(COMMANDS.map((path) => path.join(" ")).toSorted()).toEqual(
      [
        "config check",
        "demo",
        "dev",
        "epochs",
        "gateway",
        "log",
        "publish",
        "relay",
        "status",
        "tail",
        "token create",
      ].toSorted(),
    )
  })

  it.for(COMMANDS.map((path) => path.join(" ")))("of %s", async (name) => {
    const { code, stdout, stderr } = await run([...name.split(" "), "--help"])
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
    expect(stdout).toContain(`Usage: tidemark ${name}`)
    expect(stdout).toContain("Exit codes:\n  0  done")
  })

  it("of the whole: commands in one line each, examples, environment and all exit codes", async () => {
    const { code, stdout } = await run(["--help"])
    expect(code).toBe(0)
    for (const [name = ""] of COMMANDS) expect(stdout).toMatch(new RegExp(`^  ${name}\\b`, "m"))
    for (const title of ["Examples:", "Environment:"]) expect(stdout).toContain(title)
    expect(stdout).toMatch(
      /0 {2}done\n.*1 {2}failed\n.*2 {2}wrong.*\n.*3 {2}accepted.*\n.*4 {2}refused.*\n.*5 {2}nothing answers/,
    )
  })

  it("says where --url selects, and where it is the address", async () => {
    for (const command of ["publish", "epochs"]) {
      const { stdout } = await run([command, "--help"])
      expect(stdout).toContain("--worker <address>")
      expect(stdout).toContain("not the Worker's address")
    }
    for (const command of ["status", "log", "tail"]) {
      expect((await run([command, "--help"])).stdout).toContain("--worker, --url <address>")
    }
  })

  it.for(COMMANDS.map((path) => path.join(" ")))("%s takes the common options", (path) => {
    const command = path
      .split(" ")
      .reduce<Command>(
        (at, name) => at.commands.find((child) => child.name() === name) ?? at,
        createProgram(nothing),
      )
    const flags = command.options.flatMap(({ short, long }) => [short, long])
    for (const flag of ["--json", "--config", "--url", "--token-file", "--worker"])
      expect(flags).toContain(flag)
  })
})

it("prints its version", async () => {
  expect(await run(["--version"])).toEqual({
    code: 0,
    stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    stderr: "",
  })
})

describe("exit 2, wrong usage", () => {
  it.for(
    [
      [],
      ["nope"],
      ["--nope"],
      ["token"],
      ["token", "nope"],
      ["relay", "--nope"],
      ["gateway", "--nope"],
      ["dev", "--nope"],
      ["demo", "--break", "everything"],
      ["publish", "blog", "--nope"],
      ["publish", "blog", "more"],
      ["publish"],
      ["publish", "blog", "--everything"],
      ["publish", "blog", "--mode", "gently"],
      ["publish", "blog", "--wait", "soon"],
      ["publish", "blog", "--wait", "0"],
      ["publish", "blog", "--settle", "soon"],
      ["publish", "blog", "--url", "not-a-url"],
      ["publish", "blog", "--mode", "purge", "--stale-for", "5m"],
      ["publish", "blog", "--idempotency-key", "ü"],
      ["publish", "blog", "--worker", "not-a-url"],
      ["publish", "blog", "--worker", "ftp://127.0.0.1"],
      ["publish", "blog", "--token-file", "/nowhere/at-all"],
      ["status"],
      ["status", "the-last-one"],
      ["status", ID, "--timeout", "x"],
      ["log", "--limit", "0"],
      ["log", "--limit", "1001"],
      ["log", "--before", "yesterday"],
      ["log", "--before", "1", "--after", "1"],
      ["log", "--ns", "blog/*"],
      ["tail", "--lines", "-1"],
      ["epochs"],
      ["epochs", "b l o g"],
      ["token", "create", "deploy"],
      ["token", "create", "Deploy", "--scope", "read:*"],
      ["config", "check", "--config", "/nowhere/tidemark.config.ts"],
    ].map((args) => ({ args })),
  )("$args", async ({ args }) => {
    const { code, stdout, stderr } = await run(args, { env: { TIDEMARK_URL: NOBODY } })
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" })
    expect(stderr).not.toBe("")
    expect(stderr).not.toMatch(/^\s+at /m)
  })

  it("an address with credentials, which are not repeated", async () => {
    const result = await run(["log"], { env: { TIDEMARK_URL: "http://me:hidden@127.0.0.1:1" } })
    expect(result).toMatchObject({ code: 2, stdout: "" })
    expect(result.stderr).toContain("TIDEMARK_URL")
    expect(result.stderr).not.toContain("hidden")
  })

  it("a token that no header can hold, which is not repeated", async () => {
    const result = await run(["log", "--json"], {
      env: { TIDEMARK_URL: NOBODY, TIDEMARK_TOKEN: "tm_hidden\nand more" },
    })
    expect(result.code).toBe(2)
    expect(JSON.parse(result.stdout)).toMatchObject({ code: "usage" })
    expect(result.stdout + result.stderr).not.toContain("hidden")
  })
})

/** Every command that asks the Worker, with its first request. */
const ASKING = [
  { args: ["publish", "blog"], method: "POST", path: "/v1/invalidations", body: { namespace: "blog" } },
  { args: ["status", ID], method: "GET", path: `/v1/invalidations/${ID}` },
  { args: ["status", ID, "--watch"], method: "GET", path: `/v1/invalidations/${ID}` },
  { args: ["log"], method: "GET", path: "/v1/invalidations?before=9007199254740991&limit=100" },
  { args: ["tail"], method: "GET", path: "/v1/invalidations?before=9007199254740991&limit=10" },
  { args: ["epochs", "blog"], method: "GET", path: "/v1/epochs?ns=blog" },
] as const

describe.for(ASKING)("$args", ({ args, ...request }) => {
  it.for([
    { status: 403, exit: 4 },
    { status: 422, exit: 1 },
  ])("a problem with $status is exit $exit, shown with its pointers", async ({ status, exit }) => {
    // A server that repeats what it was sent is not our Worker's way, but anything may answer.
    const detail = `It says no to ${TOKEN}.`
    const problem = problemOf(status, "some_code", detail, [
      { pointer: "/tags/0", detail: "is not good\u001b[31m" },
    ])
    for (const json of [false, true]) {
      await using worker = await fakeWorker(TOKEN, [{ ...request, status, answer: problem }])
      const env = { TIDEMARK_URL: worker.url, TIDEMARK_TOKEN: TOKEN }
      const { code, stdout, stderr } = await run([...args, ...(json ? ["--json"] : [])], { env })
      expect(worker.complaints()).toEqual([])
      expect(code).toBe(exit)
      expect(stderr).toContain(
        `tidemark: It says no to [token]. (${status} some_code)\n  /tags/0: is not good\ufffd[31m\n`,
      )
      expect(stdout + stderr).not.toContain(TOKEN)
      if (json) expect(JSON.parse(stdout)).toEqual({ ...problem, detail: "It says no to [token]." })
      else expect(stdout).toBe("")
    }
  })

  it("an answer that is no Tidemark's is exit 1", async () => {
    for (const answer of ["<html>It works!</html>", { items: 1 }, []]) {
      await using worker = await fakeWorker(TOKEN, [{ ...request, answer }])
      const { code, stdout, stderr } = await run(args, {
        env: { TIDEMARK_URL: worker.url, TIDEMARK_TOKEN: TOKEN },
      })
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" })
      expect(stderr).toMatch(/is that a Tidemark\?/)
      expect(worker.complaints()).toEqual([])
    }
  })
})

it.for([
  { status: 400, exit: 1 },
  { status: 401, exit: 4 },
  { status: 404, exit: 1 },
  { status: 429, exit: 1 },
  { status: 503, exit: 1 },
])("$status without a word of why is exit $exit", async ({ status, exit }) => {
  const [{ args, ...request }] = ASKING
  await using worker = await fakeWorker(TOKEN, [{ ...request, status, answer: "<html>Bad Gateway</html>" }])
  const env = { TIDEMARK_URL: worker.url, TIDEMARK_TOKEN: TOKEN }
  const { code, stdout, stderr } = await run([...args, "--json"], { env })
  expect(code).toBe(exit)
  expect(stderr).toContain(`${worker.url}/ answered ${status}\n`)
  expect(JSON.parse(stdout)).toEqual({
    type: "about:blank",
    status,
    detail: `${worker.url}/ answered ${status}`,
  })
})

it("a redirect is exit 1, and not followed", async () => {
  const [{ args, ...request }] = ASKING
  const answerHeaders = { location: "/elsewhere" }
  await using worker = await fakeWorker(TOKEN, [{ ...request, status: 302, answer: "", answerHeaders }])
  const { code, stderr } = await run(args, { env: { TIDEMARK_URL: worker.url, TIDEMARK_TOKEN: TOKEN } })
  expect(code).toBe(1)
  expect(stderr).toContain("a redirect: is the address right?")
  expect(worker.count()).toBe(1)
})

describe("exit 5, unreachable", () => {
  it.for(ASKING.filter(({ args }) => !args.includes("--watch")))("$args", async ({ args }) => {
    for (const json of args[0] === "log" ? [false, true] : [false]) {
      const env = { TIDEMARK_URL: NOBODY, TIDEMARK_TOKEN: TOKEN }
      const { code, stdout, stderr } = await run([...args, ...(json ? ["--json"] : [])], { env })
      expect(code).toBe(5)
      expect(stderr).toBe(`tidemark: nothing answers at ${NOBODY}/: ECONNREFUSED\n`)
      if (json) expect(JSON.parse(stdout)).toMatchObject({ code: "unreachable" })
    }
  })

  it("status --watch, once its time is over", async () => {
    const env = { TIDEMARK_URL: NOBODY, TIDEMARK_TOKEN: TOKEN }
    expect((await run(["status", ID, "--watch", "--timeout", "0.2"], { env })).code).toBe(5)
  })
})

describe("the address", () => {
  it("may have a path of its own", async () => {
    await using worker = await fakeWorker(TOKEN, [
      { method: "GET", path: `/edge/v1/invalidations/${ID}`, answer: recordOf() },
    ])
    const env = { TIDEMARK_URL: `${worker.url}/edge`, TIDEMARK_TOKEN: TOKEN }
    expect((await run(["status", ID], { env })).code).toBe(0)
    expect(worker.complaints()).toEqual([])
  })

  it.for(["--url", "--worker"])("is what %s says, before TIDEMARK_URL", async (flag) => {
    await using worker = await fakeWorker(TOKEN, [
      { method: "GET", path: `/v1/invalidations/${ID}`, answer: recordOf() },
    ])
    const env = { TIDEMARK_URL: NOBODY, TIDEMARK_TOKEN: TOKEN }
    expect((await run(["status", ID, flag, worker.url], { env, cwd: tmpdir() })).code).toBe(0)
    expect(worker.complaints()).toEqual([])
  })
})
