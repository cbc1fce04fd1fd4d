import { describe, expect, it } from "vitest"
import { hmac, toHex, utf8 } from "../../protocol/bytes.ts"
import { MAX_SELECTORS } from "../../protocol/invalidation.ts"
import { vectorsOf } from "../../test/fixtures/vectors.ts"
import { contextOf, describeSource, withHeaders } from "./conformance.ts"
import { github } from "./github.ts"
import type { Delivery } from "./source.ts"

const SECRET = "It's a Secret to Everybody"

async function sign(
  secret: string,
  body: string,
  more: Readonly<Record<string, string>> = {},
): Promise<Delivery> {
  const mac = toHex(await hmac("SHA-256", utf8(secret), utf8(body)))
  const headers = new Headers({ "x-hub-signature-256": `sha256=${mac}`, "x-github-event": "push", ...more })
  return { method: "POST", path: "/v1/hooks/site", headers, body: utf8(body) }
}

const spoil = (edit: (value: string) => string) => (delivery: Delivery) =>
  withHeaders(delivery, { "x-hub-signature-256": edit(delivery.headers.get("x-hub-signature-256") ?? "") })

describeSource(github, {
  secrets: [SECRET, "another"],
  sign: async (secret, body) => sign(secret, body),
  signedHeaders: ["x-hub-signature-256"],
  signsPath: false,
  ignoresCase: true,
  spoilt: {
    "an upper-case prefix": spoil((value) => value.toUpperCase()),
    "no prefix": spoil((value) => value.slice("sha256=".length)),
    "another hash": spoil((value) => value.replace("sha256", "sha1")),
    "two signatures": spoil((value) => `${value}, ${value}`),
    "only the older header": (delivery) =>
      withHeaders(delivery, {
        "x-hub-signature": delivery.headers.get("x-hub-signature-256") ?? "",
        "x-hub-signature-256": undefined,
      }),
  },
  vectors: vectorsOf("github"),
})

it("knows a repetition by its id and its body together", async () => {
  const verify = async (more?: Readonly<Record<string, string>>) =>
    github.verify(await sign(SECRET, "{}", more), contextOf("github", SECRET))
  expect(await verify({ "x-github-delivery": "72d3162e" })).toEqual({
    verdict: "verified",
    deliveryId: "72d3162e",
    replay: "body-hash",
  })
  expect(await verify()).toEqual({ verdict: "verified", replay: "none" })
})

const read = (event: string | undefined, body: unknown, options: Parameters<typeof contextOf>[2] = {}) => {
  const headers = new Headers(event === undefined ? {} : { "x-github-event": event })
  return github.read({ body, headers, path: "/" }, contextOf("github", SECRET, options))
}

const AFTER = "6113728f27ae82c7b1a177c8d03f9e96e0adf246"
const commit = (lists: object, id = AFTER) => ({ id, added: [], removed: [], modified: [], ...lists })
const push = (commits: readonly object[], more: object = {}) => ({
  ref: "refs/heads/main",
  before: "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c",
  after: AFTER,
  created: false,
  deleted: false,
  forced: false,
  commits,
  pusher: { name: "ada", email: "ada@example.com" },
  ...more,
})
const told = { topic: "push", environment: "main", version: AFTER }

describe("reading a push", () => {
  it("has an event for each file", () => {
    const first = { added: ["content/blog/tides.md"], modified: ["Makefile"] }
    const second = { removed: ["content/old.tar.gz", ".env"], modified: ["a.b/c"] }
    expect(read("push", push([commit(first, "1"), commit(second)]))).toEqual({
      reading: "events",
      events: [
        { kind: "publish", type: "md", slug: "content/blog/tides", ...told },
        { kind: "update", type: "file", slug: "Makefile", ...told },
        { kind: "update", type: "file", slug: "a.b/c", ...told },
        { kind: "delete", type: "gz", slug: "content/old.tar", ...told },
        { kind: "delete", type: "file", slug: ".env", ...told },
      ],
    })
  })

  it.for([
    [[{ added: ["a"] }, { modified: ["a"] }], "update"],
    [[{ removed: ["a"] }, { added: ["a"] }], "publish"],
    [[{ added: ["a"] }, { removed: ["a"] }], "delete"],
    // Two branches that were merged: which of their commits came first says nothing.
    [[{ removed: ["a"] }, { modified: ["a"] }], "delete"],
  ] as const)("makes one event of %j: %s", ([lists, kind]) => {
    const commits = lists.map((list, index) => commit(list, index === lists.length - 1 ? AFTER : "1"))
    expect(read("push", push(commits))).toMatchObject({ events: [{ kind, slug: "a" }] })
  })

  it("calls a tag by its whole ref", () => {
    const body = push([commit({ modified: ["a.md"] })], { ref: "refs/tags/v1" })
    expect(read("push", body)).toMatchObject({ events: [{ environment: "refs/tags/v1" }] })
  })

  it("takes an empty commit for a deploy", () => {
    expect(read("push", push([commit({})]))).toEqual({
      reading: "events",
      events: [{ kind: "deploy", ...told }],
    })
  })

  const many = (count: number) => Array.from({ length: count }, (_, index) => `${index}.md`)
  const INCOMPLETE: readonly (readonly [string, object])[] = [
    ["a forced push", push([commit({ modified: ["a.md"] })], { forced: true })],
    ["a new branch", push([], { created: true })],
    ["a branch that is gone", push([], { deleted: true, after: "0".repeat(40), head_commit: null })],
    ["no commits", push([])],
    ["commits whose last one is not the head", push([commit({ modified: ["a.md"] }, "1")])],
    ["more files than can be told apart", push([commit({ modified: many(MAX_SELECTORS + 1) })])],
    ["as many commits as that", push(many(MAX_SELECTORS).map(() => commit({ modified: ["a.md"] })))],
    ["nothing of whether it was forced", { ref: "refs/heads/main", after: AFTER, commits: [commit({})] }],
    ["nothing", {}],
  ]

  it.for(INCOMPLETE)("cannot tell what changed by %s", ([, body]) => {
    expect(read("push", body)).toMatchObject({ reading: "unreadable" })
    expect(read("push", body, { fields: { environment: "/x" }, environments: ["x"] })).toMatchObject({
      reading: "unreadable",
    })
  })

  it("is not concerned by what cannot be told of another branch", () => {
    const forced = push([], { forced: true, ref: "refs/heads/wip" })
    expect(read("push", forced, { environments: ["main", "release-*"] })).toMatchObject({
      reading: "ignored",
    })
    expect(read("push", forced, { environments: ["w*"] })).toMatchObject({ reading: "unreadable" })
  })

  it("tells as many files as can be told apart", () => {
    const reading = read("push", push([commit({ modified: many(MAX_SELECTORS) })]))
    expect(reading.reading === "events" ? reading.events.length : 0).toBe(MAX_SELECTORS)
  })

  it("tells nobody's address", () => {
    expect(JSON.stringify(read("push", push([commit({ modified: ["a.md"] })])))).not.toContain("@")
  })
})

describe("reading other events", () => {
  const deployment = { sha: AFTER, environment: "production" }

  it("takes a deployment that succeeded for a deploy", () => {
    const body = { action: "created", deployment, deployment_status: { state: "success" } }
    expect(read("deployment_status", body)).toEqual({
      reading: "events",
      events: [
        {
          kind: "deploy",
          topic: "deployment_status.created",
          environment: "production",
          version: AFTER,
        },
      ],
    })
  })

  it("takes a built site for a deploy", () => {
    expect(read("page_build", { build: { status: "built", commit: AFTER } })).toEqual({
      reading: "events",
      events: [{ kind: "deploy", topic: "page_build", environment: "github-pages", version: AFTER }],
    })
  })

  it.for([
    ["ping", { zen: "Design for failure.", hook_id: 1 }],
    ["ping", undefined],
    ["deployment", { action: "created", deployment }],
    ["deployment_status", { deployment, deployment_status: { state: "in_progress" } }],
    ["deployment_status", { deployment, deployment_status: { state: "failure" } }],
    ["deployment_status", { deployment, deployment_status: { state: "inactive" } }],
    ["page_build", { build: { status: "errored" } }],
    ["page_build", {}],
  ] as const)("ignores %s of %j", ([event, body]) => {
    expect(read(event, body)).toMatchObject({ reading: "ignored" })
  })

  it.for([
    ["release", { action: "published" }, "release.published"],
    ["workflow_run", { action: "completed" }, "workflow_run.completed"],
    ["public", {}, "public"],
  ] as const)("leaves what %s means to the rules", ([event, body, topic]) => {
    expect(read(event, body)).toEqual({ reading: "events", events: [{ kind: "update", type: event, topic }] })
  })

  it.for([
    ["release", { action: "deleted" }],
    ["release", { action: "unpublished" }],
    ["repository", { action: "privatized" }],
    ["delete", { ref: "v1", ref_type: "tag" }],
  ] as const)("takes %s of %j for something that must no longer be seen", ([event, body]) => {
    expect(read(event, body)).toMatchObject({ events: [{ kind: "delete", type: event }] })
  })

  it("leaves out no push by its branch that does not even tell its head", () => {
    const context = contextOf("github", SECRET, { environments: ["production"] })
    const headers = new Headers({ "x-github-event": "push" })
    const readIn = (body: unknown) => github.read({ body, headers, path: "/" }, context)
    expect(readIn({ ref: "refs/heads/main", forced: true, after: "a1" })).toMatchObject({
      reading: "ignored",
    })
    expect(readIn({ ref: "refs/heads/main", commits: [{ removed: ["a.md"] }] })).toMatchObject({
      reading: "unreadable",
      kind: "delete",
    })
  })

  it("cannot read what is no object, nor what has no event", () => {
    expect(read("push", undefined)).toMatchObject({ reading: "unreadable" })
    expect(read(undefined, push([]))).toMatchObject({ reading: "unreadable" })
  })
})
