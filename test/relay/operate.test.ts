import { expect, it } from "vitest"
import { hashToken } from "../../protocol/tokens.ts"
import { TOKENS } from "../support/relay-process.ts"
import { done, poll, type Stage, stage } from "./stage.ts"

const OTHER = "tm_other-tenants-operator-that-no-output-may-hold"

/** A relay with two dead letters of one invalidation, and a vendor that has changed its mind since. */
async function withLetters() {
  const at = await stage()
  const { targets, tokens = [] } = at.config
  const [name, target] = Object.entries(targets ?? {})[0] ?? []
  if (!name || !target) throw new Error("the stage has a target")
  const other = { name: "other", sha256: await hashToken(OTHER), scopes: ["operate"], tenant: "other" }
  const config = {
    ...at.config,
    tokens: [...tokens, other],
    targets: { [name]: { ...target, onUnsupported: "skip" as const } },
  }
  const relay = await at.relay({ config })
  await relay.ready
  at.vendor.answer = ({ kind, values }) =>
    kind === "tag" && values.some((value) => value.startsWith("bad")) ? { status: 400 } : undefined
  const [entry] = await at.press.publish({
    namespace: "blog",
    mode: "purge",
    tags: ["bad-1", "good", "bad-2"],
  })
  const epoch = entry?.epoch ?? 0
  await poll(async () => (await at.press.record(epoch)).state).toBe("failed")
  at.vendor.answer = () => undefined
  at.vendor.forget()
  return { ...at, relay, name, epoch }
}

it("shows dead letters in pages, as they were published", async () => {
  const { relay, name, epoch } = await withLetters()
  const first = await relay.json(`/v1/dead-letters/${name}?limit=1`)
  const rest = await relay.json(`/v1/dead-letters/${name}?limit=1&after=${first.next}`)
  const letter = (tag: string) => ({
    id: expect.stringMatching(/^\d+-\d+$/),
    epoch,
    epochs: [epoch],
    tenant: "default",
    namespace: "blog",
    selectors: { tags: [tag] },
    mode: "purge",
    error: expect.stringContaining("400"),
    at: expect.stringMatching(/^\d{4}-.*Z$/),
  })
  const items = [...first.items, ...rest.items]
  expect(items.toSorted((a, b) => a.selectors.tags[0].localeCompare(b.selectors.tags[0]))).toEqual([
    letter("bad-1"),
    letter("bad-2"),
  ])
  expect((await relay.json(`/v1/dead-letters/${name}?after=${rest.items[0].id}`)).next).toBeNull()
  expect((await relay.json("/v1/lanes")).items).toMatchObject([{ target: name, dead: 2, due: 0 }])
  for (const query of ["limit=0", "limit=1001", "limit=x", "after=x", "after=-"]) {
    expect((await relay.get(`/v1/dead-letters/${name}?${query}`, TOKENS.operator)).status).toBe(400)
  }
})

it("puts them back, one by one, until the invalidation is done", async () => {
  const { relay, name, epoch, vendor, press } = await withLetters()
  const [one, two] = (await relay.json(`/v1/dead-letters/${name}`)).items
  const replay = (id: string) => relay.send("POST", `/v1/dead-letters/${name}/${id}/replay`)
  const answer = await replay(one.id)
  expect(answer.status).toBe(202)
  expect(await answer.json()).toEqual({ id: one.id, target: name, state: "pending" })
  await poll(() => vendor.purged("tag")).toEqual(one.selectors.tags)
  expect(vendor.taken("tag").map(({ mode }) => mode)).toEqual(["purge"])
  await poll(async () => (await press.record(epoch)).targets[name]?.state).toBe("dead")
  expect((await replay(two.id)).status).toBe(202)
  await done(press, [{ generation: 0, epoch, seq: 0 }])
  expect((await replay(two.id)).status).toBe(404)
  expect(relay.log("letter:replayed")).toHaveLength(2)
})

it("drops them", async () => {
  const { relay, name } = await withLetters()
  const [one] = (await relay.json(`/v1/dead-letters/${name}`)).items
  const drop = () => relay.send("DELETE", `/v1/dead-letters/${name}/${one.id}`)
  const answer = await drop()
  expect([answer.status, await answer.text()]).toEqual([204, ""])
  expect((await drop()).status).toBe(404)
  expect((await relay.json(`/v1/dead-letters/${name}`)).items).toHaveLength(1)
})

it("tells nobody else of them", async () => {
  const { relay, name } = await withLetters()
  const [one] = (await relay.json(`/v1/dead-letters/${name}`)).items
  const routes = [
    ["GET", `/v1/dead-letters/${name}`],
    ["POST", `/v1/dead-letters/${name}/${one.id}/replay`],
    ["DELETE", `/v1/dead-letters/${name}/${one.id}`],
  ] as const
  const answers = async (method: string, path: string, token: string | null) =>
    (await relay.send(method, path, undefined, token)).status
  for (const [method, path] of [...routes, ["POST", "/v1/resync"], ["POST", "/v1/drain"]] as const) {
    expect(await answers(method, path, TOKENS.reader)).toBe(403)
    expect(await answers(method, path, "tm_unknown")).toBe(401)
    expect(await answers(method, path, null)).toBe(401)
  }
  // Another tenant's is as if it were not there, and so is one that is not.
  for (const [method, path] of routes) {
    expect(await answers(method, path, OTHER)).toBe(404)
    expect(await answers(method, path.replace(name, "nobody"), TOKENS.operator)).toBe(404)
    expect(await answers(method, path.replace(name, "__proto__"), TOKENS.operator)).toBe(404)
  }
  expect(await answers("POST", `/v1/dead-letters/${name}/x/replay`, TOKENS.operator)).toBe(404)
  expect(await answers("DELETE", `/v1/dead-letters/${name}/1-1`, TOKENS.operator)).toBe(404)
  expect((await relay.json(`/v1/dead-letters/${name}`)).items).toHaveLength(2)
  for (const [method, path, allow] of [
    ["POST", `/v1/dead-letters/${name}`, "GET"],
    ["GET", `/v1/dead-letters/${name}/${one.id}`, "DELETE"],
    ["GET", `/v1/dead-letters/${name}/${one.id}/replay`, "POST"],
    ["GET", "/v1/resync", "POST"],
  ] as const) {
    const answer = await relay.send(method, path)
    expect([answer.status, answer.headers.get("allow")]).toEqual([405, allow])
  }
})

async function ready(at: Stage) {
  const relay = await at.relay()
  await relay.ready
  await poll(async () => (await relay.json("/v1/lanes")).items[0].lag.entries).toBe(0)
  at.vendor.forget()
  return relay
}

it("resyncs a namespace by hand: its epoch rises, and it is purged as a whole", async () => {
  const at = await stage()
  const relay = await ready(at)
  const answer = await relay.send("POST", "/v1/resync", { namespace: "blog" })
  expect(answer.status).toBe(202)
  const body = await answer.json()
  expect(body).toEqual({
    id: String(body.epoch),
    epoch: expect.any(Number),
    tenant: "default",
    namespace: "blog",
    duplicate: false,
    targets: ["www-cloudflare"],
    warnings: [],
  })
  await done(at.press, [body])
  expect(at.vendor.purged("tag")).toEqual(["ns/blog"])
  expect(await at.press.record(body.epoch)).toMatchObject({ by: { token: "operator" }, cause: "asked for" })
  expect(await at.admin.get("tm:{default}:n:blog")).toMatch(new RegExp(`^${body.epoch} ${body.epoch} `))
  expect(relay.log("resync:asked")).toMatchObject([{ level: 40, namespace: "blog", by: "operator" }])
})

it.each([["{}"], [""]])("resyncs all of a tenant by hand, asked by %j", async (text) => {
  const at = await stage()
  const relay = await ready(at)
  const answer = await relay.send("POST", "/v1/resync", text)
  expect(answer.status).toBe(202)
  const body = await answer.json()
  expect(body).toMatchObject({ namespace: null, targets: ["www-cloudflare"] })
  await done(at.press, [body])
  expect(at.vendor.purged("tag")).toEqual(["ns/blog", "ns/shop"])
  expect(await at.press.record(body.epoch)).toMatchObject({ resync: true, by: { token: "operator" } })
})

it("refuses a resync that it cannot read, and changes nothing", async () => {
  const at = await stage()
  const relay = await ready(at)
  const head = await at.admin.get("tm:{default}:head")
  const code = async (body: unknown) => {
    const answer = await relay.send("POST", "/v1/resync", body)
    return [answer.status, (await answer.json()).code]
  }
  expect(await code({ namespace: "nobody" })).toEqual([422, "unknown_namespace"])
  expect(await code({ namespace: "../x" })).toEqual([422, "invalid_request"])
  expect(await code({ namespaces: ["blog"] })).toEqual([422, "invalid_request"])
  expect(await code("[]")).toEqual([422, "invalid_request"])
  expect(await code("{")).toEqual([400, "invalid_json"])
  expect(await code(JSON.stringify({ namespace: "b".repeat(5_000) }))).toEqual([413, "body_too_large"])
  expect(await at.admin.get("tm:{default}:head")).toBe(head)
})

it("drains by hand as by SIGTERM", async () => {
  const at = await stage()
  const relay = await ready(at)
  const letGo = at.vendor.hold()
  const [entry] = await at.press.publish({ namespace: "blog", tags: ["a"] })
  await poll(() => at.vendor.underWay).toBe(1)
  const answer = await relay.send("POST", "/v1/drain")
  expect([answer.status, await answer.json()]).toEqual([202, { id: expect.any(String), draining: true }])
  await poll(async () => (await relay.get("/readyz")).status).toBe(503)
  letGo()
  expect(await relay.exited).toBe(0)
  await done(at.press, [entry])
})
