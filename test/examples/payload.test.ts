import { afterEach, beforeEach, describe, expect, it, vi } from "vitest"
import { tidemark, type TidemarkOptions } from "../../examples/payload/tidemark.ts"
import { utf8 } from "../../protocol/bytes.ts"
import { contextOf } from "../../worker/sources/conformance.ts"
import { payload } from "../../worker/sources/payload.ts"
import type { SourceEvent } from "../../worker/sources/source.ts"

// The file that people copy, as it is. What it is called by is a stand-in, in Payload's own order:
// https://github.com/payloadcms/payload/blob/main/packages/payload/src/collections/operations/utilities/update.ts

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
const OPTIONS: TidemarkOptions = {
  url: "https://worker.example/v1/hooks/payload",
  secret: SECRET,
  urlOf: ({ slug }) => `https://www.example.com/${slug}`,
}

const received: Request[] = []
const answers: number[] = []
const pauses: number[] = []
const complaints: string[] = []

beforeEach(() => {
  for (const list of [received, answers, pauses, complaints]) list.length = 0
  vi.stubGlobal("fetch", (url: string, init: RequestInit) => {
    received.push(new Request(url, init))
    const status = answers.shift() ?? 200
    if (status === 0) return Promise.reject(new TypeError("fetch failed"))
    return Promise.resolve(new Response(null, { status }))
  })
  const { setTimeout: real } = globalThis
  vi.stubGlobal("setTimeout", (over: () => void, pause: number) => {
    // The test runner's own are shorter.
    if (pause < 1_000) return real(over, pause)
    pauses.push(pause)
    return setImmediate(over)
  })
})
afterEach(() => {
  vi.unstubAllGlobals()
  vi.unstubAllEnvs()
})

interface Doc {
  readonly id: number
  readonly [name: string]: unknown
}

/** A collection with what is published, and the newest version of everything. */
function collectionOf(options: TidemarkOptions = OPTIONS, drafts = true) {
  const hooks = tidemark(options)
  const main = new Map<number, Doc>()
  const newest = new Map<number, Doc>()
  const req = {
    locale: "en",
    payload: {
      findByID: ({ id, draft }: { id: number; draft: boolean }) =>
        Promise.resolve({ ...(draft ? newest : main).get(id) }),
      logger: { error: (message: string) => void complaints.push(message) },
    },
  }
  const shared = () => ({
    collection: { slug: "posts", versions: drafts ? { drafts: { autosave: false } } : false },
    context: {},
    req,
  })
  let now = 0
  const stamped = (doc: Doc): Doc => ({ ...doc, updatedAt: (now += 1) })

  return {
    async create(doc: Doc) {
      const args = { ...shared(), operation: "create" } as const
      for (const hook of hooks.beforeChange) await hook({ ...args, data: doc })
      const written = stamped(doc)
      main.set(doc.id, written)
      newest.set(doc.id, written)
      for (const hook of hooks.afterChange) await hook({ ...args, doc: written, previousDoc: {} })
    },
    async update(id: number, data: object, draft = false, context = {}) {
      const originalDoc = newest.get(id)
      const args = { ...shared(), context, operation: "update" } as const
      for (const hook of hooks.beforeChange) expect(await hook({ ...args, data, originalDoc })).toBe(data)
      const isDraft = draft && !("_status" in data && data["_status"] === "published")
      const doc = stamped({ id, ...originalDoc, ...(isDraft ? { _status: "draft" } : {}), ...data })
      if (!isDraft) main.set(id, doc)
      newest.set(id, doc)
      for (const hook of hooks.afterChange) {
        expect(await hook({ ...args, doc, previousDoc: originalDoc })).toBe(doc)
      }
    },
    async remove(id: number) {
      const doc = main.get(id)
      main.delete(id)
      for (const hook of hooks.afterDelete) await hook({ ...shared(), doc })
    },
  }
}

/** What our source reads of each delivery, after it verified it. */
async function told(): Promise<(SourceEvent | undefined)[]> {
  await new Promise((over) => setImmediate(over))
  return Promise.all(
    received.splice(0).map(async (request) => {
      const body = await request.text()
      const { headers } = request
      const context = contextOf("payload", SECRET, { at: Date.now() })
      const delivery = { method: request.method, path: "/v1/hooks/payload", headers, body: utf8(body) }
      expect(await payload.verify(delivery, context)).toMatchObject({ verdict: "verified" })
      const reading = payload.read({ body: JSON.parse(body) as unknown, headers, path: "/" }, context)
      return reading.reading === "events" ? reading.events[0] : undefined
    }),
  )
}

const event = (kind: string, slug: string, more: object = {}) => ({
  kind,
  type: "posts",
  id: "1",
  locale: "en",
  slug,
  url: `https://www.example.com/${slug}`,
  topic: `posts.${kind}`,
  ...more,
})
const from = (slug: string) => ({ previousSlug: slug, previousUrl: `https://www.example.com/${slug}` })

const PUBLISHED = { _status: "published" }
const DRAFT = { _status: "draft" }

describe("a collection with drafts", () => {
  it("tells what visitors come to see, or see no more", async () => {
    const posts = collectionOf()
    await posts.create({ id: 1, slug: "a", ...DRAFT })
    await posts.update(1, { slug: "b" }, true)
    expect(await told()).toEqual([])
    await posts.update(1, PUBLISHED)
    expect(await told()).toEqual([event("publish", "b")])
    await posts.update(1, PUBLISHED)
    expect(await told()).toEqual([event("update", "b")])
    await posts.update(1, DRAFT)
    expect(await told()).toEqual([event("unpublish", "b")])
    await posts.update(1, { slug: "c" }, true)
    expect(await told()).toEqual([])
    await posts.update(1, PUBLISHED)
    await posts.remove(1)
    expect(await told()).toEqual([event("publish", "c"), event("delete", "c")])
  })

  it("tells nothing of a draft beside what is published, and then the address that was published", async () => {
    const posts = collectionOf()
    await posts.create({ id: 1, slug: "a", ...PUBLISHED })
    expect(await told()).toEqual([event("publish", "a")])
    await posts.update(1, { slug: "b" }, true)
    await posts.update(1, { slug: "c" }, true)
    expect(await told()).toEqual([])
    await posts.update(1, PUBLISHED)
    expect(await told()).toEqual([event("update", "c", from("a"))])
  })

  // https://github.com/payloadcms/payload/issues/4405: by `previousDoc` alone, a draft became a draft.
  it("tells that it was taken back, also after a draft was saved", async () => {
    const posts = collectionOf()
    await posts.create({ id: 1, slug: "a", ...PUBLISHED })
    await posts.update(1, { slug: "b" }, true)
    await told()
    await posts.update(1, DRAFT)
    expect(await told()).toEqual([event("unpublish", "a")])
  })

  it("tells of the trash and back, and not of what is deleted out of it", async () => {
    const posts = collectionOf()
    await posts.create({ id: 1, slug: "a", ...PUBLISHED })
    await posts.update(1, { deletedAt: "2026-01-01T00:00:00Z" })
    await posts.update(1, { deletedAt: null })
    expect(await told()).toMatchObject([{ kind: "publish" }, { kind: "unpublish" }, { kind: "publish" }])
    await posts.update(1, { deletedAt: "2026-01-01T00:00:00Z" })
    await told()
    await posts.remove(1)
    expect(await told()).toEqual([])
  })

  it("does not mix up what one operation changes in the course of another", async () => {
    const posts = collectionOf()
    const context = {}
    for (const id of [1, 2]) await posts.create({ id, slug: `a${id}`, ...PUBLISHED })
    await told()
    await posts.update(1, { slug: "b1" }, false, context)
    await posts.update(2, { slug: "b2" }, false, context)
    await posts.update(1, { slug: "c1" }, false, context)
    expect(await told()).toMatchObject([
      { id: "1", previousSlug: "a1" },
      { id: "2", previousSlug: "a2" },
      { id: "1", previousSlug: "b1" },
    ])
  })
})

describe("a collection without drafts", () => {
  it("tells every change", async () => {
    const posts = collectionOf(OPTIONS, false)
    await posts.create({ id: 1, slug: "a" })
    await posts.update(1, { slug: "b" })
    await posts.remove(1)
    expect(await told()).toEqual([
      event("publish", "a"),
      event("update", "b", from("a")),
      event("delete", "b"),
    ])
  })

  it("tells no address where it is not told one", async () => {
    const { urlOf: _, ...rest } = OPTIONS
    const posts = collectionOf(rest, false)
    await posts.create({ id: 1 })
    expect(await told()).toEqual([
      { kind: "publish", type: "posts", id: "1", locale: "en", topic: "posts.publish" },
    ])
  })
})

describe("delivery", () => {
  const changeWith = async (options: TidemarkOptions) =>
    collectionOf(options, false).create({ id: 1, slug: "a" })

  it("is tried three times, under one id", async () => {
    answers.push(503, 0)
    await changeWith(OPTIONS)
    await vi.waitFor(() => expect(received).toHaveLength(3))
    expect(pauses).toEqual([1_000, 5_000])
    expect(new Set(received.map(({ headers }) => headers.get("webhook-id"))).size).toBe(1)
    expect(await told()).toHaveLength(3)
    expect(complaints).toEqual([])
  })

  it.for([401, 302, 500, 0])("is given up after three answers %i, and that is logged", async (answer) => {
    answers.push(answer, answer, answer)
    await changeWith(OPTIONS)
    await vi.waitFor(() =>
      expect(complaints).toEqual([expect.stringMatching(/^Tidemark: msg_.* was not taken: /)]),
    )
    expect(received).toHaveLength(3)
    expect(complaints.join()).not.toContain(SECRET)
    expect(received.map(({ redirect }) => redirect)).toEqual(["manual", "manual", "manual"])
  })

  it("is left to whoever runs what comes later, and done at once where nobody can", async () => {
    const tasks: (() => Promise<void>)[] = []
    await changeWith({ ...OPTIONS, later: (task) => void tasks.push(task) })
    expect(await told()).toEqual([])
    for (const task of tasks) await task()
    expect(await told()).toHaveLength(1)
    const later = () => {
      throw new Error("`after` was called outside a request scope")
    }
    await changeWith({ ...OPTIONS, later })
    expect(await told()).toHaveLength(1)
  })

  it("goes where the environment says", async () => {
    vi.stubEnv("TIDEMARK_URL", "https://other.example/v1/hooks/payload")
    vi.stubEnv("TIDEMARK_SECRET", SECRET)
    await changeWith({})
    expect(received.map(({ url }) => url)).toEqual(["https://other.example/v1/hooks/payload"])
    vi.stubEnv("TIDEMARK_SECRET", "")
    await changeWith({})
    expect(complaints).toEqual(["Tidemark: TIDEMARK_URL or TIDEMARK_SECRET is not set"])
  })
})
