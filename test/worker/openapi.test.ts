import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { PROBLEMS } from "../../protocol/errors.ts"
import { nodesKey } from "../../protocol/keys.ts"
import { type Edge, startEdge } from "../support/edge.ts"

/** What the Worker says of its own API, held against what it answers. */

type Json = Readonly<Record<string, unknown>>

let edge: Edge
let api: Json
beforeAll(async () => {
  edge = await startEdge({
    config: {
      namespaces: { blog: { hosts: ["www.example.com"] } },
      targets: {
        cdn: {
          type: "http",
          url: "https://purge.example/",
          secret: { secret: "HTTP_SECRET" },
          namespaces: ["*"],
          allowEverything: true,
        },
      },
    },
    scopes: { all: ["publish:*", "everything", "read:*"] },
    secrets: {},
  })
  api = (await (await fetch(`${edge.url}/openapi.json`)).json()) as Json
})
afterAll(() => edge.stop())

/** A member of a document, by a JSON Pointer. */
const at = (pointer: string): unknown =>
  pointer
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"))
    .reduce<unknown>((value, part) => (value as Json | undefined)?.[part], api)

function* everyObject(value: unknown): Generator<Json> {
  if (value === null || typeof value !== "object") return
  if (!Array.isArray(value)) yield value as Json
  for (const part of Object.values(value)) yield* everyObject(part)
}

const operations = (): readonly Json[] =>
  Object.values(at("/paths") as Json).flatMap((path) => Object.values(path as Json) as Json[])

describe("what the Worker says of its API", () => {
  it("is OpenAPI 3.1, as JSON", async () => {
    const answer = await fetch(`${edge.url}/openapi.json`)
    expect(answer.headers.get("content-type")).toBe("application/json")
    expect(api).toMatchObject({ openapi: "3.1.0", info: { title: "Tidemark" } })
  })

  it("refers to nothing that is not there", () => {
    const refs = [...everyObject(api)].flatMap(({ $ref }) => (typeof $ref === "string" ? [$ref] : []))
    expect(new Set(refs).size).toBeGreaterThan(10)
    expect(refs.filter((ref) => at(ref.slice(1)) === undefined)).toEqual([])
    for (const kind of Object.values(at("/components") as Json))
      for (const name of Object.keys(kind as Json)) expect(name).toMatch(/^[\w.-]+$/)
  })

  it("tells every refusal by its status, with all codes that it may have", () => {
    const responses = at("/components/responses") as Record<string, { description: string }>
    for (const [code, { status, title }] of Object.entries(PROBLEMS))
      expect(responses[status]?.description.split("; ")).toContain(`\`${code}\`: ${title}`)
    const refusals = operations().flatMap(({ responses: own }) =>
      Object.entries(own as Json).filter(([status]) => Number(status) >= 400),
    )
    expect(refusals.length).toBeGreaterThan(30)
    for (const [status, response] of refusals)
      expect(response).toEqual({ $ref: `#/components/responses/${status}` })
  })

  it("names every member of a record", async () => {
    const token = edge.tokens["all"] ?? ""
    await edge.store.pipeline([["HSET", nodesKey("default"), "cdn", JSON.stringify(["a", "b"])]])
    const page = "https://www.example.com/a"
    const selectors = { tags: ["a"], urls: [page], prefixes: [page], hosts: ["www.example.com"] }
    const told = { entity: { type: "post", id: 1 }, reason: "test", secondPass: "1h" }
    const bodies = [{ namespace: "blog", ...selectors, ...told }, { everything: true }]
    const members = new Set<string>()
    const ofTargets = new Set<string>()
    const ofNodes = new Set<string>()
    for (const body of bodies) {
      const { json: accepted } = await edge.call("POST", "/v1/invalidations", { token, body })
      const { json } = await edge.call("GET", `/v1/invalidations/${accepted.id}`, { token })
      for (const name of Object.keys(json)) members.add(name)
      for (const name of Object.keys(json.targets.cdn)) ofTargets.add(name)
      for (const name of Object.keys(json.targets.cdn.nodes.a)) ofNodes.add(name)
    }
    for (const name of ["tags", "hosts", "entity", "reason", "everything", "noRelay"])
      expect(members).toContain(name)
    const RECORD = "/components/schemas/Record/properties"
    const TARGET = `${RECORD}/targets/additionalProperties/properties`
    // Of a delivery, of a pass, and of what is done by hand.
    const elsewhere = ["notes", "pass", "resync", "cause"]
    expect(Object.keys(at(RECORD) as Json)).toEqual(expect.arrayContaining([...members, ...elsewhere]))
    expect(Object.keys(at(TARGET) as Json)).toEqual(expect.arrayContaining([...ofTargets, "verified"]))
    expect(Object.keys(at(`${TARGET}/nodes/additionalProperties/properties`) as Json).toSorted()).toEqual(
      [...ofNodes].toSorted(),
    )
  })
})
