import { describe, expect, it } from "vitest"
import { hmac, toHex, utf8 } from "../../protocol/bytes.ts"
import { vectorsOf } from "../../test/fixtures/vectors.ts"
import { contextOf, describeSource, withHeaders } from "./conformance.ts"
import type { Delivery } from "./source.ts"
import { vercel } from "./vercel.ts"

const SECRET = "vercel-secret"

async function sign(secret: string, body: string): Promise<Delivery> {
  const mac = toHex(await hmac("SHA-1", utf8(secret), utf8(body)))
  const headers = new Headers({ "x-vercel-signature": mac })
  return { method: "POST", path: "/v1/hooks/site", headers, body: utf8(body) }
}

const spoil = (edit: (value: string) => string) => (delivery: Delivery) =>
  withHeaders(delivery, { "x-vercel-signature": edit(delivery.headers.get("x-vercel-signature") ?? "") })

describeSource(vercel, {
  secrets: [SECRET, "another"],
  sign: async (secret, body) => sign(secret, body),
  signedHeaders: ["x-vercel-signature"],
  signsPath: false,
  spoilt: {
    "an upper-case signature": spoil((value) => value.toUpperCase()),
    "a signature that is too short": spoil((value) => value.slice(1)),
    "two signatures": spoil((value) => `${value}, ${value}`),
    "a prefix": spoil((value) => `sha1=${value}`),
  },
  vectors: vectorsOf("vercel"),
})

it.for([
  ['{"id":"event_1","createdAt":1698345600000}', "body-hash"],
  ['{"id":"event_1", "createdAt" : 1698345600000}', "body-hash"],
  ['{"id":"event_1"}', "none"],
  ['{"createdAt":null}', "none"],
] as const)("knows %s again by %s", async ([body, replay]) => {
  expect(await vercel.verify(await sign(SECRET, body), contextOf("vercel", SECRET))).toEqual({
    verdict: "verified",
    replay,
  })
})

const read = (body: unknown) =>
  vercel.read({ body, headers: new Headers(), path: "/" }, contextOf("vercel", SECRET))

const event = (type: string, more: object = {}) => ({
  id: "event_2XqF5example",
  type,
  createdAt: 1_698_345_600_000,
  payload: {
    user: { id: "usr_1" },
    deployment: { id: "dpl_FjHqKqFexample", name: "my-app", url: "my-app.vercel.app" },
    project: { id: "prj_Qmexample" },
    target: "production",
    ...more,
  },
  region: "sfo1",
})
const told = { type: "my-app", id: "dpl_FjHqKqFexample" }

describe("reading", () => {
  it.for([
    ["deployment.promoted", {}, "production"],
    // Built as a preview and promoted then.
    ["deployment.promoted", { target: null }, "production"],
    ["deployment.rollback", { target: null }, "production"],
    ["deployment.succeeded", {}, "production"],
    ["deployment.ready", {}, "production"],
    ["deployment.succeeded", { target: "staging" }, "staging"],
  ] as const)("reads %s of %j as a deploy to %s", ([topic, more, environment]) => {
    expect(read(event(topic, more))).toEqual({
      reading: "events",
      events: [{ kind: "deploy", topic, environment, ...told }],
    })
  })

  it("names no environment where no target is told", () => {
    const body = event("deployment.succeeded", { target: undefined })
    expect(read(JSON.parse(JSON.stringify(body)))).toEqual({
      reading: "events",
      events: [{ kind: "deploy", topic: "deployment.succeeded", ...told }],
    })
  })

  it.for([
    ["deployment.succeeded", { target: null }],
    ["deployment.ready", { target: null }],
    ["deployment.created", {}],
    ["deployment.error", {}],
    ["deployment.canceled", {}],
  ] as const)("ignores %s of %j", ([topic, more]) => {
    expect(read(event(topic, more))).toMatchObject({ reading: "ignored" })
  })

  it.for(["project.rolling-release.completed", "domain.created", "deployment.polished", "constructor"])(
    "leaves what %s means to the rules",
    (topic) => {
      expect(read({ type: topic, payload: { project: { name: "my-app" } } })).toEqual({
        reading: "events",
        events: [{ kind: "update", type: "my-app", topic }],
      })
    },
  )

  it("cannot tell what has no type", () => {
    for (const body of [undefined, [], {}, { type: null }, { type: {} }]) {
      expect(read(body)).toMatchObject({ reading: "unreadable" })
    }
  })
})
