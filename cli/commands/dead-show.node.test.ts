import { expect, it, vi } from "vitest"
import { type Exchange, fakeWorker } from "../testing/fake-worker.ts"
import { ID, LETTER, letterOf } from "../testing/records.ts"
import { run, TOKEN } from "../testing/run.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

const asked = (query: string, items: readonly unknown[]): Exchange => ({
  method: "GET",
  path: `/v1/dead-letters/www-varnish?${query}`,
  answer: { items, next: null },
})

const BEFORE = "after=1795272188594-9999999999999999&limit=1"

async function show(args: readonly string[], exchanges: readonly Exchange[]) {
  await using relay = await fakeWorker(TOKEN, exchanges)
  const result = await run(["dead", "show", "www-varnish", ...args], {
    env: { TIDEMARK_RELAY_URL: relay.url, TIDEMARK_TOKEN: TOKEN },
  })
  expect(relay.complaints()).toEqual([])
  return result
}

it("shows all that a dead letter tells", async () => {
  const letter = letterOf({
    epochs: [Number(ID), Number(ID) + 7],
    selectors: { tags: ["post-42", "b\u001b[31m"], urls: ["https://www.example.com/a"] },
    raw: "{\u0000}",
  })
  const { code, stdout, stderr } = await show([LETTER], [asked(BEFORE, [letter])])
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
  expect(stdout).toBe(`\
dead letter 1795272188595-0
  target     www-varnish
  given up   2026-11-21T21:03:08.595Z
  namespace  blog
  mode       invalidate
  error      400: bad value
  of         1763672400000001
  of         1763672400000008
  what       tag post-42
  what       tag b\ufffd[31m
  what       url https://www.example.com/a
  raw        {\ufffd}
`)
})

it("shows one of a form that the relay does not know as what it is put back as", async () => {
  const letter = {
    id: LETTER,
    epoch: null,
    epochs: [],
    namespace: null,
    selectors: {},
    mode: null,
    error: "not known",
    at: null,
    raw: "?",
  }
  const { stdout } = await show([LETTER], [asked(BEFORE, [letter])])
  expect(stdout).toBe(`\
dead letter 1795272188595-0
  target     www-varnish
  namespace  *
  error      not known
  of         not known
  what       everything
  raw        ?
`)
})

it("prints it as one object with --json", async () => {
  const { stdout } = await show([LETTER, "--json"], [asked(BEFORE, [letterOf()])])
  expect(JSON.parse(stdout)).toEqual(letterOf())
})

it.for([
  { id: "1795272188595-12", query: "after=1795272188595-11&limit=1" },
  { id: "0-0", query: "limit=1" },
])("asks for $id by what comes before it", async ({ id, query }) => {
  const { code } = await show([id], [asked(query, [letterOf({ id })])])
  expect(code).toBe(0)
})

it.for([
  { what: "the next one", items: [letterOf({ id: "1795272188596-0" })] },
  { what: "none", items: [] },
])("that is not there, while $what is, is exit 1", async ({ items }) => {
  const { code, stdout, stderr } = await show([LETTER], [asked(BEFORE, items)])
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" })
  expect(stderr).toBe(`tidemark: www-varnish has no dead letter ${LETTER}\n`)
})
