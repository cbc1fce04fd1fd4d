import { describe, expect, it, vi } from "vitest"
import { type Exchange, fakeWorker } from "../testing/fake-worker.ts"
import { doneTarget, ID, LETTER, letterOf, pendingTarget, problemOf, recordOf } from "../testing/records.ts"
import { run, TOKEN } from "../testing/run.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

const EPOCH = Number(ID)

const put = (id: string, members: Partial<Exchange> = {}): Exchange => ({
  method: "POST",
  path: `/v1/dead-letters/www-varnish/${id}/replay`,
  status: 202,
  answer: { id, target: "www-varnish", state: "pending" },
  ...members,
})

const listed = (query: string, items: readonly unknown[], next: string | null = null): Exchange => ({
  method: "GET",
  path: `/v1/dead-letters/www-varnish?${query}`,
  answer: { items, next },
})

const FROM = "after=1795272188594-9999999999999999&limit=1000"

/** The record of an invalidation that another target has given up on in any case. */
const recordAt = (epoch: number, target: object | undefined) =>
  recordOf({
    id: String(epoch),
    epoch,
    state: "failed",
    targets: {
      "www-cloudflare": { ...pendingTarget, state: "dead" },
      ...(target ? { "www-varnish": target } : {}),
    },
  })

const read = (epoch: number, target: object | undefined, members: Partial<Exchange> = {}): Exchange => ({
  method: "GET",
  path: `/v1/invalidations/${epoch}`,
  answer: recordAt(epoch, target),
  ...members,
})

const dead = { ...pendingTarget, state: "dead", attempts: 1, error: "400: still\u001b[31m bad" }

const gone = { status: 404, answer: problemOf(404, "not_found", "There is no such thing.") }

async function replay(args: readonly string[], exchanges: readonly Exchange[]) {
  await using relay = await fakeWorker(TOKEN, exchanges)
  const result = await run(["dead", "replay", "www-varnish", ...args], {
    env: { TIDEMARK_RELAY_URL: relay.url, TIDEMARK_TOKEN: TOKEN },
  })
  expect(relay.complaints()).toEqual([])
  return result
}

describe("one", () => {
  it("is put back", async () => {
    expect(await replay([LETTER], [put(LETTER)])).toEqual({
      code: 0,
      stdout: `put back ${LETTER}: pending at www-varnish\n`,
      stderr: "",
    })
  })

  it("is answered as one object with --json", async () => {
    const { code, stdout } = await replay([LETTER, "--json"], [put(LETTER)])
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toEqual({ id: LETTER, target: "www-varnish", state: "pending" })
  })

  it("that is not there is exit 1", async () => {
    const { code, stdout, stderr } = await replay([LETTER], [put(LETTER, gone)])
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" })
    expect(stderr).toContain("There is no such thing. (404 not_found)")
  })
})

describe("one with --wait", () => {
  const letter = letterOf({ epochs: [EPOCH, EPOCH + 5] })

  it("ends with 0 when its target is done with each of its invalidations, whatever the others are", async () => {
    const away = problemOf(503, "store_unavailable", "Redis did not answer.")
    const exchanges = [
      listed(FROM, [letter]),
      put(LETTER),
      read(EPOCH, pendingTarget),
      read(EPOCH, pendingTarget, { status: 503, answer: away }),
      read(EPOCH, { ...pendingTarget, state: "retrying" }),
      read(EPOCH, doneTarget),
      read(EPOCH + 5, doneTarget),
    ]
    const { code, stdout, stderr } = await replay([LETTER, "--wait=30"], exchanges)
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
    expect(stdout).toBe(`ID               STATE  ERROR\n${LETTER}  done\n`)
  })

  it("is one object with --json, with the records", async () => {
    const exchanges = [
      listed(FROM, [letter]),
      put(LETTER),
      read(EPOCH, doneTarget),
      read(EPOCH + 5, doneTarget),
    ]
    const { stdout } = await replay([LETTER, "--json", "--wait"], exchanges)
    expect(JSON.parse(stdout)).toEqual({
      id: LETTER,
      target: "www-varnish",
      state: "done",
      records: [recordAt(EPOCH, doneTarget), recordAt(EPOCH + 5, doneTarget)],
    })
  })

  const newer = letterOf({ id: "1795272188600-0", epochs: [EPOCH + 99] })

  it("ends with 1 when it is dead again", async () => {
    const exchanges = [
      listed(FROM, [letter, newer]),
      put(LETTER),
      read(EPOCH, dead),
      read(EPOCH + 5, doneTarget),
      listed("after=1795272188600-0&limit=1000", [letterOf({ id: "1795272188700-0", epochs: [EPOCH] })]),
    ]
    const { code, stdout, stderr } = await replay([LETTER, "--wait"], exchanges)
    expect(code).toBe(1)
    expect(stdout).toContain(`${LETTER}  dead   400: still\ufffd[31m bad\n`)
    expect(stderr).toBe("dead again; see: tidemark dead list www-varnish\n")
  })

  it.for([
    { what: "was widened, and refused so", members: { selectors: {} }, exit: 1 },
    { what: "is of another tag", members: { selectors: { tags: ["post-43"] } }, exit: 0 },
    { what: "is of another invalidation", members: { epochs: [EPOCH + 7] }, exit: 0 },
  ])("knows a new dead letter that $what", async ({ members, exit }) => {
    const again = letterOf({ id: "1795272188700-0", epochs: [EPOCH], ...members })
    const exchanges = [
      listed(FROM, [letterOf()]),
      put(LETTER),
      read(EPOCH, dead),
      listed(`after=${LETTER}&limit=1000`, [again]),
    ]
    expect((await replay([LETTER, "--wait"], exchanges)).code).toBe(exit)
  })

  it("ends with 0 where the invalidation is dead for another letter, and says so", async () => {
    const exchanges = [
      listed(FROM, [letterOf()]),
      put(LETTER),
      read(EPOCH, dead),
      listed(`after=${LETTER}&limit=1000`, []),
    ]
    const { code, stdout, stderr } = await replay([LETTER, "--wait"], exchanges)
    expect(code).toBe(0)
    expect(stdout).toContain(`${LETTER}  done\n`)
    expect(stderr).toBe("another dead letter of the same invalidation is left\n")
  })

  it("takes a dead record at its word where it cannot be known which letter it is dead for", async () => {
    const answer = problemOf(503, "store_unavailable", "Redis did not answer.")
    const exchanges = [
      listed(FROM, [letterOf()]),
      put(LETTER),
      read(EPOCH, dead),
      { ...listed(`after=${LETTER}&limit=1000`, []), status: 503, answer },
    ]
    const { code, stderr } = await replay([LETTER, "--wait"], exchanges)
    expect(code).toBe(1)
    expect(stderr).toContain("Redis did not answer.")
  })

  it("ends with 3 when the time is over", async () => {
    const exchanges = [
      listed(FROM, [letterOf()]),
      put(LETTER),
      read(EPOCH, { ...pendingTarget, state: "paused", error: "403" }, { always: true }),
    ]
    const { code, stdout, stderr } = await replay([LETTER, "--wait", "0.4"], exchanges)
    expect(code).toBe(3)
    expect(stdout).toContain(`${LETTER}  pending  403\n`)
    expect(stderr).toBe("not known to be done; see: tidemark lanes\n")
  })

  it.for([
    { what: "the log no longer has it", reads: [read(EPOCH, undefined, gone)] },
    { what: "no receipt is left", reads: [read(EPOCH, { ...pendingTarget, state: "unknown" })] },
    { what: "the target is no longer concerned", reads: [read(EPOCH, undefined)] },
  ])("ends with 3, at once, where $what", async ({ reads }) => {
    const { code, stdout } = await replay(
      [LETTER, "--wait=30"],
      [listed(FROM, [letterOf()]), put(LETTER), ...reads],
    )
    expect(code).toBe(3)
    expect(stdout).toContain(`${LETTER}  unknown\n`)
  })

  it("ends with 3 where it is not known what it was of", async () => {
    const unreadable = letterOf({ epoch: null, epochs: [] })
    const { code, stdout } = await replay([LETTER, "--wait"], [listed(FROM, [unreadable]), put(LETTER)])
    expect(code).toBe(3)
    expect(stdout).toContain("unknown")
  })

  it("ends with 3, at once, where the token may not read what became of it: it is put back all the same", async () => {
    const answer = problemOf(403, "insufficient_scope", "The token's scopes hold no read:.")
    const exchanges = [listed(FROM, [letter]), put(LETTER), read(EPOCH, undefined, { status: 403, answer })]
    const { code, stdout, stderr } = await replay([LETTER, "--json", "--wait"], exchanges)
    expect(code).toBe(3)
    expect(JSON.parse(stdout)).toMatchObject({ state: "pending", records: [] })
    expect(stderr).toContain("The token's scopes hold no read:.")
  })

  it("that is not there is exit 1, and nothing is put back", async () => {
    expect((await replay([LETTER, "--wait"], [listed(FROM, [])])).code).toBe(1)
  })
})

describe("--all", () => {
  const ids = ["1795272188595-0", "1795272188595-1", "1795272188599-0"] as const
  const [a, b, c] = ids

  it("puts back what there was at the beginning, page by page, and not what is refused again", async () => {
    const exchanges = [
      listed("limit=1000", [letterOf({ id: a }), letterOf({ id: b })], b),
      listed(`after=${b}&limit=1000`, [letterOf({ id: c })]),
      put(a),
      put(b, gone),
      put(c),
    ]
    const { code, stdout, stderr } = await replay(["--all"], exchanges)
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
    expect(stdout).toBe("put back 2 of www-varnish, 1 had gone meanwhile\n")
  })

  it("is one object with --json", async () => {
    const exchanges = [listed("limit=1000", [letterOf({ id: a }), letterOf({ id: b })]), put(a), put(b)]
    const { stdout } = await replay(["--all", "--json"], exchanges)
    expect(JSON.parse(stdout)).toEqual({
      target: "www-varnish",
      items: [
        { id: a, state: "pending" },
        { id: b, state: "pending" },
      ],
    })
  })

  it("with --wait asks once for each invalidation, and shows what is not done", async () => {
    const letters = [
      letterOf({ id: a, epochs: [EPOCH + 5, EPOCH] }),
      letterOf({ id: b, epochs: [EPOCH + 5] }),
      letterOf({ id: c, epochs: [EPOCH + 9] }),
    ]
    const exchanges = [
      listed("limit=1000", letters),
      ...ids.map((id) => put(id)),
      read(EPOCH, doneTarget),
      read(EPOCH + 5, doneTarget),
      read(EPOCH + 9, dead),
      listed(`after=${c}&limit=1000`, [letterOf({ id: "1795272188700-0", epochs: [EPOCH + 9] })]),
    ]
    const { code, stdout, stderr } = await replay(["--all", "--wait"], exchanges)
    expect(code).toBe(1)
    expect(stdout).toBe(`\
put back 3 of www-varnish
2 of 3 done
ID               STATE  ERROR
${c}  dead   400: still\ufffd[31m bad
`)
    expect(stderr).toContain("dead again")
    const told = await replay(["--all", "--json", "--wait"], exchanges)
    expect(told.code).toBe(1)
    expect(JSON.parse(told.stdout)).toEqual({
      target: "www-varnish",
      items: [
        { id: a, state: "done" },
        { id: b, state: "done" },
        { id: c, state: "dead", error: dead.error },
      ],
    })
  })

  it("stops at what stops it, and says how far it came", async () => {
    const answer = problemOf(503, "store_unavailable", "Redis did not answer.")
    const exchanges = [
      listed(
        "limit=1000",
        ids.map((id) => letterOf({ id })),
      ),
      put(a),
      put(b, { status: 503, answer }),
    ]
    const { code, stdout, stderr } = await replay(["--all"], exchanges)
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" })
    expect(stderr).toBe(
      "put back 1 of 3; the same command goes on with the rest\ntidemark: Redis did not answer. (503 store_unavailable)\n",
    )
  })

  it("of a target that has none is done", async () => {
    const { code, stdout } = await replay(["--all", "--wait"], [listed("limit=1000", [])])
    expect({ code, stdout }).toEqual({ code: 0, stdout: "put back 0 of www-varnish\n0 of 0 done\n" })
  })
})
