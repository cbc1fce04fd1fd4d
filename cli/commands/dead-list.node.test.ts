import { describe, expect, it, vi } from "vitest"
import { type Exchange, fakeWorker } from "../testing/fake-worker.ts"
import { LETTER, letterOf, problemOf } from "../testing/records.ts"
import { run, TOKEN } from "../testing/run.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

const page = (query: string, ids: readonly string[], next: string | null = null): Exchange => ({
  method: "GET",
  path: `/v1/dead-letters/www-varnish?${query}`,
  answer: { items: ids.map((id) => letterOf({ id })), next },
})

async function list(args: readonly string[], exchanges: readonly Exchange[]) {
  await using relay = await fakeWorker(TOKEN, exchanges)
  const result = await run(["dead", "list", ...args], {
    env: { TIDEMARK_RELAY_URL: relay.url, TIDEMARK_TOKEN: TOKEN },
  })
  expect(relay.complaints()).toEqual([])
  return result
}

const idsOf = (stdout: string): string[] => stdout.match(/^\d+-\d+/gm) ?? []

it("lists what a target gave up on, and why", async () => {
  const answer = {
    items: [
      letterOf(),
      letterOf({
        id: "1795272188595-1",
        namespace: null,
        namespaces: ["blog", "shop"],
        selectors: {},
        mode: "purge",
        error: "the zone is\u001b[31m gone",
      }),
      letterOf({ id: "1795272188595-2", namespace: null, selectors: { everything: true }, epoch: null }),
      letterOf({
        id: "1795272188595-3",
        selectors: { urls: ["https://www.example.com/a\u202e"], hosts: ["b", "c", "d"] },
      }),
    ],
    next: null,
  }
  const { code, stdout, stderr } = await list(["www-varnish"], [{ ...page("limit=100", []), answer }])
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
  expect(stdout).toBe(`\
ID               AT                        NAMESPACE   WHAT                                                       MODE        ERROR
1795272188595-0  2026-11-21T21:03:08.595Z  blog        tag post-42                                                invalidate  400: bad value
1795272188595-1  2026-11-21T21:03:08.595Z  blog, shop  the whole namespace                                        purge       the zone is\ufffd[31m gone
1795272188595-2  2026-11-21T21:03:08.595Z  *           everything                                                 invalidate  400: bad value
1795272188595-3  2026-11-21T21:03:08.595Z  blog        url https://www.example.com/a\ufffd, host b, host c and 1 more  invalidate  400: bad value
`)
})

it("says so where there are none", async () => {
  const result = await list(["www-varnish"], [page("limit=100", [])])
  expect(result).toEqual({ code: 0, stdout: "", stderr: "www-varnish has no dead letters here\n" })
})

it("of an unknown target is exit 1", async () => {
  const answer = problemOf(404, "not_found", "There is no such target.")
  const { code, stderr } = await list(["www-varnish"], [{ ...page("limit=100", []), status: 404, answer }])
  expect({ code, stderr }).toEqual({
    code: 1,
    stderr: "tidemark: There is no such target. (404 not_found)\n",
  })
})

describe("pages", () => {
  it("are asked for until the limit is reached, and say how to go on", async () => {
    const exchanges = [
      page(`after=${LETTER}&limit=3`, ["1795272188596-0", "1795272188596-1"], "1795272188596-1"),
      page("after=1795272188596-1&limit=1", ["1795272188597-0"], "1795272188597-0"),
    ]
    const { code, stdout, stderr } = await list(["www-varnish", "--limit", "3", "--after", LETTER], exchanges)
    expect(code).toBe(0)
    expect(idsOf(stdout)).toEqual(["1795272188596-0", "1795272188596-1", "1795272188597-0"])
    expect(stderr).toBe("there is more: tidemark dead list www-varnish --after 1795272188597-0\n")
  })

  it("are no larger than the relay gives them, and one answer with --json", async () => {
    const first = Array.from({ length: 1_000 }, (_, nth) => `1795272188595-${nth}`)
    const exchanges = [
      page("limit=1000", first, "1795272188595-999"),
      page("after=1795272188595-999&limit=500", ["1795272188596-0"]),
    ]
    const { code, stdout } = await list(["www-varnish", "--limit", "1500", "--json"], exchanges)
    expect(code).toBe(0)
    const items = [...first, "1795272188596-0"].map((id) => letterOf({ id }))
    expect(JSON.parse(stdout)).toEqual({ items, next: null })
  })

  it.for([
    { what: "an empty page that goes on", items: [], next: "1795272188596-0" },
    { what: "a next that is no id", items: [letterOf()], next: "x\u001b[31m" },
    { what: "an id that is none", items: [letterOf({ id: "../x" })], next: null },
  ])("$what is none of ours: exit 1", async ({ items, next }) => {
    const { code, stdout, stderr } = await list(
      ["www-varnish"],
      [{ ...page("limit=100", []), answer: { items, next } }],
    )
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" })
    expect(stderr).toContain("is that a Tidemark relay?")
  })
})

describe("without a target", () => {
  const lanes: Exchange = {
    method: "GET",
    path: "/v1/lanes",
    answer: {
      items: [
        { tenant: "default", target: "www-cloudflare", state: "idle", dead: 0 },
        { tenant: "default", target: "www-varnish", state: "idle", dead: 2 },
        { tenant: "default", target: "hook", state: "paused", dead: 1 },
        { tenant: "default", target: "other", state: "off", missing: ["OTHER_SECRET"] },
      ],
    },
  }
  const ofHook: Exchange = {
    method: "GET",
    path: "/v1/dead-letters/hook?limit=1",
    answer: { items: [letterOf({ id: "1795272188599-0" })], next: null },
  }

  it("lists those of every target that has any", async () => {
    const exchanges = [lanes, page("limit=1", [LETTER], LETTER), ofHook]
    const { code, stdout, stderr } = await list(["--limit", "1"], exchanges)
    expect(code).toBe(0)
    expect(stdout).toMatch(/^www-varnish\nID .*\n1795272188595-0 .*\n\nhook\nID .*\n1795272188599-0 .*\n$/)
    expect(stderr).toBe(`there is more: tidemark dead list www-varnish --after ${LETTER}\n`)
  })

  it("is one object with --json", async () => {
    const exchanges = [lanes, page("limit=1", [LETTER], LETTER), ofHook]
    const { stdout } = await list(["--limit", "1", "--json"], exchanges)
    expect(JSON.parse(stdout)).toEqual({
      targets: { "www-varnish": { items: [letterOf()], next: LETTER }, hook: ofHook.answer },
    })
  })

  it("says so where no target has any", async () => {
    const result = await list([], [{ ...lanes, answer: { items: [] } }])
    expect(result).toEqual({ code: 0, stdout: "", stderr: "no target has dead letters\n" })
  })
})
