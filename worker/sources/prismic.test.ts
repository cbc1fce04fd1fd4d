import { describe, expect, it } from "vitest"
import { utf8 } from "../../protocol/bytes.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import { derive } from "../routes/hooks.ts"
import { contextOf, describeSource } from "./conformance.ts"
import { prismic } from "./prismic.ts"
import type { Delivery } from "./source.ts"
import { unsigned } from "./testing/unsigned.ts"

// By a header, which Prismic can be told to send too: the suite sends bodies that could hold no secret.
describeSource(prismic, unsigned)

const SECRET = "Prismic's-own-s3cret"

/** The members that prismic-client's types name; that package publishes no captured delivery. */
const UPDATE = {
  type: "api-update",
  domain: "my-repo",
  apiUrl: "https://my-repo.prismic.io/api",
  secret: SECRET,
  masterRef: "X6qn-RIAACMAVge1",
  releases: {},
  masks: {},
  tags: {},
  documents: ["XxE8aREAAB8APoCs", "XxE8aREAAB8APoCt"],
}

const delivery = (body: unknown): Delivery => ({
  method: "POST",
  path: "/v1/hooks/prismic-main",
  headers: new Headers(),
  body: utf8(JSON.stringify(body)),
})

describe("the secret in the body", () => {
  const verify = async (body: unknown, secrets: string | string[] = SECRET) =>
    prismic.verify(delivery(body), contextOf("prismic", secrets, { auth: "body" }))

  it("is what verifies, and any of several does", async () => {
    expect(await verify(UPDATE)).toEqual({ verdict: "verified", replay: "none" })
    expect(await verify(UPDATE, ["another", SECRET])).toMatchObject({ verdict: "verified" })
  })

  it.for([["another"], [null], [undefined], [""], [[SECRET]], [`${SECRET} `]])(
    "does not verify as %j",
    async ([secret]) => {
      expect(await verify({ ...UPDATE, secret })).toMatchObject({ verdict: "invalid" })
      expect(await verify({ ...UPDATE, secret }, "")).toMatchObject({ verdict: "invalid" })
    },
  )

  it.for(["body", "header:x-hook-secret"])("gets nowhere, with auth %s", (auth) => {
    const config = parseConfig({ namespaces: { blog: { hosts: ["www.example.com"] } } })
    const rules = [
      { tags: ["{field:/secret}", "{field:/*}", "{tags}", "{slug}", "{type}-{id}"] },
      { when: { "field:/secret": "*" }, tags: ["there is one"] },
    ]
    const fields = { tags: "/secret", slug: "/*", type: "/secret", environment: "/secret", kind: "/secret" }
    for (const environments of [undefined, ["nothing"]]) {
      const context = contextOf("prismic", SECRET, {
        auth,
        rules,
        fields,
        ...(environments && { environments }),
      })
      for (const body of [
        UPDATE,
        { ...UPDATE, documents: [] },
        { secret: SECRET },
        { ...UPDATE, type: "?" },
      ]) {
        const derived = derive(config, "cms", prismic, delivery(body), context)
        expect(JSON.stringify(derived)).not.toContain(SECRET)
        expect(JSON.stringify(derived)).not.toContain("there is one")
      }
    }
  })
})

const read = (body: unknown) =>
  prismic.read({ body, headers: new Headers(), path: "/" }, contextOf("prismic", SECRET, { auth: "body" }))

describe("reading", () => {
  it("makes an event of each document", () => {
    const told = {
      kind: "update",
      topic: "api-update",
      version: "X6qn-RIAACMAVge1",
      environment: "my-repo",
    }
    expect(read(UPDATE)).toEqual({
      reading: "events",
      events: [
        { ...told, id: "XxE8aREAAB8APoCs" },
        { ...told, id: "XxE8aREAAB8APoCt" },
      ],
    })
  })

  it("takes documents for published where no ref says that they are not", () => {
    const { masterRef: _, ...body } = UPDATE
    expect(read({ ...body, releases: { update: [{ id: "r" }] } })).toMatchObject({
      events: [{ kind: "update" }, { kind: "update" }],
    })
  })

  it("ignores a test", () => {
    expect(read({ type: "test-trigger", domain: "my-repo", secret: SECRET })).toMatchObject({
      reading: "ignored",
    })
  })

  it.for([
    { releases: { addition: [{ id: "r", ref: "x", label: "Spring", documents: ["d"] }] } },
    { tags: { deletion: [{ id: "t" }] } },
    { releases: { deletion: [{ id: "r" }] }, tags: { addition: [{ id: "t" }] } },
  ])("ignores what only %j says", (changed) => {
    const { masterRef: _, ...body } = UPDATE
    expect(read({ ...body, documents: [], ...changed })).toMatchObject({ reading: "ignored" })
  })

  it.for([
    { documents: [] },
    { documents: [], masterRef: undefined },
    { documents: [], masterRef: undefined, masks: { update: [] } },
    { documents: undefined },
    { documents: "XxE8aREAAB8APoCs" },
    { documents: ["XxE8aREAAB8APoCs", null] },
    { documents: ["XxE8aREAAB8APoCs", ""] },
    { type: "of-tomorrow" },
    { type: undefined },
  ])("cannot read an update with %j", (changed) => {
    expect(read(JSON.parse(JSON.stringify({ ...UPDATE, ...changed })))).toMatchObject({
      reading: "unreadable",
    })
  })

  it.for([
    { masks: { update: [{ id: "post" }] } },
    { documents: [], masterRef: undefined, masks: { addition: [{ id: "post" }] } },
    { documents: [], masterRef: undefined, experiments: { update: [{ id: "e" }] }, tags: { addition: [{}] } },
  ])("takes an update with %j for a change of the model, whatever else it lists", (changed) => {
    expect(read(JSON.parse(JSON.stringify({ ...UPDATE, ...changed })))).toMatchObject({
      events: [{ kind: "update", isModel: true, topic: "api-update" }],
    })
  })

  it("cannot read more documents than could be named", () => {
    const documents = Array.from({ length: 1_001 }, (_, index) => `d${index}`)
    expect(read({ ...UPDATE, documents })).toMatchObject({ reading: "unreadable" })
    expect(read({ ...UPDATE, documents: documents.slice(1) })).toMatchObject({ reading: "events" })
  })

  it.for([[[]], [null], ["x"], [{}]])("has no use for %j", ([body]) => {
    expect(read(body)).toMatchObject({ reading: "unreadable" })
  })
})
