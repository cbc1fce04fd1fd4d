import { tmpdir } from "node:os"
import { describe, expect, it, vi } from "vitest"
import { fakeWorker, nobody } from "./testing/fake-worker.ts"
import { ID, LETTER, problemOf, recordOf } from "./testing/records.ts"
import { run, TOKEN } from "./testing/run.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

const NOBODY = await nobody()

/** Every command that asks the Worker or the relay, with its first request. */
const ASKING = [
  { args: ["publish", "blog"], method: "POST", path: "/v1/invalidations", body: { namespace: "blog" } },
  { args: ["status", ID], method: "GET", path: `/v1/invalidations/${ID}` },
  { args: ["status", ID, "--watch"], method: "GET", path: `/v1/invalidations/${ID}` },
  { args: ["log"], method: "GET", path: "/v1/invalidations?before=9007199254740991&limit=100" },
  { args: ["tail"], method: "GET", path: "/v1/invalidations?before=9007199254740991&limit=10" },
  { args: ["epochs", "blog"], method: "GET", path: "/v1/epochs?ns=blog" },
  { args: ["lanes"], method: "GET", path: "/v1/lanes" },
  { args: ["lanes", "--watch"], method: "GET", path: "/v1/lanes" },
  { args: ["dead", "list"], method: "GET", path: "/v1/lanes" },
  { args: ["dead", "list", "www"], method: "GET", path: "/v1/dead-letters/www?limit=100" },
  {
    args: ["dead", "show", "www", LETTER],
    method: "GET",
    path: "/v1/dead-letters/www?after=1795272188594-9999999999999999&limit=1",
  },
  {
    args: ["dead", "replay", "www", LETTER],
    method: "POST",
    path: `/v1/dead-letters/www/${LETTER}/replay`,
  },
  {
    args: ["dead", "replay", "www", "--all"],
    method: "GET",
    path: "/v1/dead-letters/www?limit=1000",
  },
  {
    args: ["dead", "delete", "www", LETTER, "--yes"],
    method: "DELETE",
    path: `/v1/dead-letters/www/${LETTER}`,
  },
  { args: ["resync", "--yes"], method: "POST", path: "/v1/resync", body: {} },
  { args: ["drain", "--yes"], method: "POST", path: "/v1/drain" },
] as const

const envOf = (url: string) => ({ TIDEMARK_URL: url, TIDEMARK_RELAY_URL: url, TIDEMARK_TOKEN: TOKEN })

describe.for(ASKING)("$args", ({ args, ...request }) => {
  it.for([
    { status: 403, exit: 4, json: false },
    { status: 422, exit: 1, json: true },
  ])("a problem with $status is exit $exit, shown with its pointers", async ({ status, exit, json }) => {
    // A server that repeats what it was sent is not our Worker's way, but anything may answer.
    const detail = `It says no to ${TOKEN}.`
    const problem = problemOf(status, "some_code", detail, [
      { pointer: "/tags/0", detail: "is not good\u001b[31m" },
    ])
    await using worker = await fakeWorker(TOKEN, [{ ...request, status, answer: problem }])
    const env = envOf(worker.url)
    const { code, stdout, stderr } = await run([...args, ...(json ? ["--json"] : [])], { env })
    expect(worker.complaints()).toEqual([])
    expect(code).toBe(exit)
    expect(stderr).toContain(
      `tidemark: It says no to [token]. (${status} some_code)\n  /tags/0: is not good\ufffd[31m\n`,
    )
    expect(stdout + stderr).not.toContain(TOKEN)
    if (json) expect(JSON.parse(stdout)).toEqual({ ...problem, detail: "It says no to [token]." })
    else expect(stdout).toBe("")
  })

  it("an answer that is no Tidemark's is exit 1", async () => {
    await using worker = await fakeWorker(TOKEN, [{ ...request, answer: { items: 1 } }])
    const env = envOf(worker.url)
    const { code, stdout, stderr } = await run(args, { env })
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" })
    expect(stderr).toMatch(/is that a Tidemark( relay)?\?/)
    expect(worker.complaints()).toEqual([])
  })
})

it("an answer that is no JSON is exit 1, and not shown", async () => {
  const [{ args, ...request }] = ASKING
  await using worker = await fakeWorker(TOKEN, [{ ...request, answer: "<html>It works!</html>" }])
  const { code, stdout, stderr } = await run(args, {
    env: envOf(worker.url),
  })
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" })
  expect(stderr).toBe(`tidemark: ${worker.url}/ answered 200, but no JSON: is that a Tidemark?\n`)
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
  const env = envOf(worker.url)
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
  const { code, stderr } = await run(args, { env: envOf(worker.url) })
  expect(code).toBe(1)
  expect(stderr).toContain("a redirect: is the address right?")
  expect(worker.count()).toBe(1)
})

describe("exit 5, unreachable", () => {
  it.for(ASKING.filter(({ args }) => args.length < 3))("$args", async ({ args }) => {
    for (const json of args[0] === "log" ? [false, true] : [false]) {
      const env = envOf(NOBODY)
      const { code, stdout, stderr } = await run([...args, ...(json ? ["--json"] : [])], { env })
      expect(code).toBe(5)
      expect(stderr).toBe(`tidemark: nothing answers at ${NOBODY}/: ECONNREFUSED\n`)
      if (json) expect(JSON.parse(stdout)).toMatchObject({ code: "unreachable" })
    }
  })

  it("status --watch, once its time is over", async () => {
    const env = envOf(NOBODY)
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
    const env = envOf(NOBODY)
    expect((await run(["status", ID, flag, worker.url], { env, cwd: tmpdir() })).code).toBe(0)
    expect(worker.complaints()).toEqual([])
  })
})
