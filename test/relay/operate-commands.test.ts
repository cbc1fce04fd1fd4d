import { expect, it } from "vitest"
import { type Finished, run, start } from "../../cli/testing/run.ts"
import { TOKENS } from "../support/relay-process.ts"
import { poll, type Stage, stage } from "./stage.ts"

/** The command line against a relay as it is. */
async function withRelay() {
  const at = await stage()
  const [name, target] = Object.entries(at.config.targets ?? {})[0] ?? []
  if (!name || !target) throw new Error("the stage has a target")
  const config = { ...at.config, targets: { [name]: { ...target, onUnsupported: "skip" as const } } }
  const relay = await at.relay({ config })
  await relay.ready
  const env = { TIDEMARK_RELAY_URL: relay.url, TIDEMARK_TOKEN: TOKENS.operator }
  const tidemark = async (...args: string[]): Promise<Finished & { json: () => any }> => {
    const finished = await run(args, { env })
    expect(finished.stdout + finished.stderr).not.toContain(TOKENS.operator)
    return { ...finished, json: () => JSON.parse(finished.stdout) }
  }
  return { ...at, relay, name, env, tidemark }
}

const refuse = (vendor: Stage["vendor"], prefix: string) => {
  vendor.answer = ({ kind, values }) =>
    kind === "tag" && values.some((value) => value.startsWith(prefix)) ? { status: 400 } : undefined
}

it("shows, puts back and deletes dead letters", async () => {
  const { vendor, press, name, tidemark } = await withRelay()
  refuse(vendor, "bad")
  const tags = ["bad-1", "good", "bad-2", "bad-3"]
  const [entry] = await press.publish({ namespace: "blog", mode: "purge", tags })
  const epoch = entry?.epoch ?? 0
  const stateOf = async () => (await press.record(epoch)).targets[name]?.state
  await poll(stateOf).toBe("dead")

  const { code, stdout } = await tidemark("lanes")
  expect(code).toBe(0)
  expect(stdout).toMatch(new RegExp(`^${name} +idle +0 +- +0 +3 `, "m"))
  const listed = (await tidemark("dead", "list", name, "--json")).json()
  expect(listed).toMatchObject({ items: [{ epochs: [epoch] }, {}, {}], next: null })
  const [one, two, three] = listed.items
  expect((await tidemark("dead", "list")).stdout).toContain(`blog       tag ${one.selectors.tags[0]} `)
  const shown = await tidemark("dead", "show", name, two.id)
  expect(shown.stdout).toContain(`  of         ${epoch}\n  what       tag ${two.selectors.tags[0]}\n`)
  expect((await tidemark("dead", "show", name, two.id, "--json")).json()).toEqual(two)

  // The vendor has changed its mind of one of them.
  refuse(vendor, two.selectors.tags[0])
  const good = await tidemark("dead", "replay", name, one.id, "--wait=60")
  expect([good.code, good.stderr]).toEqual([0, "another dead letter of the same invalidation is left\n"])
  const bad = await tidemark("dead", "replay", name, two.id, "--wait=60")
  expect([bad.code, bad.stderr]).toEqual([1, `dead again; see: tidemark dead list ${name}\n`])
  expect((await tidemark("dead", "replay", name, two.id)).code).toBe(1)

  expect((await tidemark("dead", "delete", name, three.id, "--yes")).stdout).toBe(
    `deleted ${three.id} of ${name}\n`,
  )
  expect((await tidemark("dead", "delete", name, three.id, "--yes")).code).toBe(1)
  vendor.answer = () => undefined
  const all = await tidemark("dead", "replay", name, "--all", "--wait=60", "--json")
  expect([all.code, all.json()]).toEqual([
    0,
    { target: name, items: [{ id: expect.any(String), state: "done" }] },
  ])
  expect((await tidemark("dead", "list", name)).stderr).toBe(`${name} has no dead letters here\n`)
  expect((await tidemark("dead", "list", "nobody")).code).toBe(1)
})

it("resyncs, and waits until it is done", async () => {
  const { vendor, tidemark } = await withRelay()
  vendor.forget()
  const one = await tidemark("resync", "--yes", "blog", "--wait=60", "--json")
  expect([one.code, one.json()]).toMatchObject([0, { namespace: "blog", state: "done" }])
  expect(vendor.purged("tag")).toContain("ns/blog")
  const all = await tidemark("resync", "--yes", "--wait=60", "--json")
  expect([all.code, all.json()]).toMatchObject([0, { namespace: null, resync: true, state: "done" }])
  const none = await tidemark("resync", "--yes", "nobody")
  expect([none.code, none.stderr]).toEqual([1, expect.stringContaining("unknown_namespace")])
})

it("drains, and waits until the relay has ended", async () => {
  const { vendor, press, relay, env } = await withRelay()
  const letGo = vendor.hold()
  await press.publish({ namespace: "blog", tags: ["a"] })
  await poll(() => vendor.underWay).toBe(1)
  const draining = start(["drain", "--yes", "--wait=60"], { env })
  await poll(async () => (await relay.get("/readyz")).status).toBe(503)
  expect(draining.child.exitCode).toBeNull()
  letGo()
  const { code, stdout } = await draining.finished
  expect([code, await relay.exited]).toEqual([0, 0])
  expect(stdout).toMatch(/^relay \S+ is told to finish.*\nit has ended: .*\n$/)
})

it("is refused by its token", async () => {
  const { name, relay } = await withRelay()
  const env = { TIDEMARK_RELAY_URL: relay.url, TIDEMARK_TOKEN: TOKENS.reader }
  for (const args of [["lanes"], ["dead", "list", name], ["resync", "--yes"], ["drain", "--yes"]]) {
    expect((await run(args, { env })).code).toBe(4)
  }
  expect(relay.isRunning).toBe(true)
})
