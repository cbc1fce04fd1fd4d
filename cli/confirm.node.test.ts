import { describe, expect, it, vi } from "vitest"
import { type Exchange, fakeWorker } from "./testing/fake-worker.ts"
import { acceptedOf, LETTER } from "./testing/records.ts"
import { run, TOKEN } from "./testing/run.ts"
import { startOnTerminal } from "./testing/terminal.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

const POLLED = { timeout: 30_000, interval: 20 }

const letter: Exchange = {
  method: "GET",
  path: "/v1/dead-letters/www-varnish?after=1795272188594-9999999999999999&limit=1",
  answer: {
    items: [{ id: LETTER, namespace: "blog", selectors: { tags: ["post-42"] }, error: "the zone is gone" }],
    next: null,
  },
}
const accepted = { status: 202, answer: acceptedOf() }

/** Each that reaches far: what it says that it would do, what it asks for that, and what it then does. */
const ASKING = [
  {
    args: ["publish", "--everything"],
    told: "every namespace of the tenant",
    before: [],
    does: { method: "POST", path: "/v1/invalidations", body: { everything: true }, ...accepted },
  },
  {
    args: ["resync"],
    told: "everything there is",
    before: [],
    does: { method: "POST", path: "/v1/resync", body: {}, ...accepted },
  },
  {
    args: ["resync", "blog"],
    told: "everything of blog",
    before: [],
    does: { method: "POST", path: "/v1/resync", body: { namespace: "blog" }, ...accepted },
  },
  {
    args: ["drain"],
    told: "finishes what is under way, and ends",
    before: [],
    does: { method: "POST", path: "/v1/drain", status: 202, answer: { id: "r-1", draining: true } },
  },
  {
    args: ["dead", "delete", "www-varnish", LETTER],
    told: "the zone is gone",
    before: [letter],
    does: { method: "DELETE", path: `/v1/dead-letters/www-varnish/${LETTER}`, status: 204 },
  },
] satisfies { args: string[]; told: string; before: Exchange[]; does: Exchange }[]

const envOf = (url: string) => ({ TIDEMARK_URL: url, TIDEMARK_RELAY_URL: url, TIDEMARK_TOKEN: TOKEN })

describe.for(ASKING)("$args", ({ args, told, before, does }) => {
  it.for(["y\r", "YES\r"])("says what it would do, asks, and does it after %j", async (answer) => {
    await using part = await fakeWorker(TOKEN, [...before, does])
    const { screen, type, finished } = startOnTerminal(args, envOf(part.url))
    await expect.poll(screen, POLLED).toContain("Go on? [y/N] ")
    expect(screen()).toContain(told)
    expect(part.count()).toBe(before.length)
    type(answer)
    expect(await finished).toBe(0)
    expect(part.complaints()).toEqual([])
  })

  it.for(["\r", "n\r", "yep\r", "\u0003", "\u0004"])("does nothing after %j", async (answer) => {
    await using part = await fakeWorker(TOKEN, before)
    const { screen, type, finished } = startOnTerminal(args, envOf(part.url))
    await expect.poll(screen, POLLED).toContain("Go on? [y/N] ")
    type(answer)
    expect(await finished).toBe(1)
    expect(screen()).toContain("nothing was done")
    expect(part.complaints()).toEqual([])
  })

  it.for(["--yes", "-y"])("asks nothing with %s", async (yes) => {
    await using part = await fakeWorker(TOKEN, [does])
    const { screen, finished } = startOnTerminal([...args, yes], envOf(part.url))
    expect(await finished).toBe(0)
    expect(screen()).not.toContain("Go on?")
    expect(part.complaints()).toEqual([])
  })

  it("without a terminal refuses, names --yes, and sends nothing", async () => {
    await using part = await fakeWorker(TOKEN, [])
    const { code, stdout, stderr } = await run([...args, "--json"], { env: envOf(part.url) })
    expect(code).toBe(2)
    expect(stderr).toContain("--yes")
    expect(JSON.parse(stdout)).toMatchObject({ code: "usage" })
    expect(part.count()).toBe(0)
  })
})

it("a publish of one namespace is not asked about", async () => {
  const does: Exchange = {
    method: "POST",
    path: "/v1/invalidations",
    body: { namespace: "blog" },
    ...accepted,
  }
  await using part = await fakeWorker(TOKEN, [does])
  expect((await run(["publish", "blog"], { env: envOf(part.url) })).code).toBe(0)
  expect(part.complaints()).toEqual([])
})
