import { spawn } from "node:child_process"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest"
import { type Binary, findPhp } from "../../cli/servers/provision.ts"
import { contextOf } from "../../worker/sources/conformance.ts"
import type { Reading } from "../../worker/sources/source.ts"
import { wordpress } from "../../worker/sources/wordpress.ts"
import { utf8 } from "../../protocol/bytes.ts"
import { packageRoot } from "../../cli/package-root.ts"

// The plugin that people copy, as it is, in a real PHP. What it calls of WordPress is test/support/wordpress.php.

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

let php: Binary
let address = ""
let status = 200
const received: { readonly headers: Headers; readonly body: string }[] = []

const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on("data", (chunk: Buffer) => chunks.push(chunk))
  request.on("end", () => {
    const headers = new Headers(request.headers as Record<string, string>)
    received.push({ headers, body: Buffer.concat(chunks).toString() })
    response.writeHead(status, status === 302 ? { location: "/elsewhere" } : {}).end()
  })
})

beforeAll(async () => {
  php = await findPhp()
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening))
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/hooks/wordpress`
})
afterAll(() => new Promise((closed) => server.close(closed)))
beforeEach(() => {
  received.length = 0
  status = 200
})

const NEWS = { term_id: 3, taxonomy: "category", slug: "news" }
const SEA = { term_id: 7, taxonomy: "post_tag", slug: "sea" }
const POST = { ID: 42, post_type: "post", post_status: "publish", post_name: "tides", terms: [3] }

interface Scheduled {
  readonly in: number
  readonly hook: string
  readonly arguments: readonly [id: string, body: string, attempt: number]
}

interface Request {
  readonly posts?: readonly object[]
  readonly terms?: readonly object[]
  readonly constants?: Readonly<Record<string, string>>
}

type Call = readonly [name: string, ...given: unknown[]]

/** One request to WordPress, by the name of what it does; answers what is left for WP-Cron. */
async function wp(does: readonly Call[], request: Request = {}): Promise<readonly Scheduled[]> {
  const script = join(packageRoot, "test/support/wordpress.php")
  const child = spawn(php.file, ["-n", "-d", "error_reporting=-1", "-d", "display_errors=stderr", script], {
    env: { ...process.env, ...php.env },
  })
  let [stdout, stderr] = ["", ""]
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()))
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()))
  const constants = { TIDEMARK_URL: address, TIDEMARK_SECRET: SECRET }
  child.stdin.end(
    JSON.stringify({ posts: [POST], terms: [NEWS, SEA], constants, isCron: false, ...request, does }),
  )
  const code = await new Promise((closed) => child.once("close", closed))
  expect({ code, stderr: stderr.replaceAll(/^.*Tidemark: msg_\w+ was not taken.*\n/gm, "") }).toEqual({
    code: 0,
    stderr: "",
  })
  return JSON.parse(stdout) as Scheduled[]
}

/** What the source of our Worker reads, after it verified the delivery. */
async function read({ headers, body }: (typeof received)[number]): Promise<Reading> {
  const context = contextOf("wordpress", SECRET, { at: Date.now() })
  const delivery = { method: "POST", path: "/v1/hooks/wordpress", headers, body: utf8(body) }
  expect(await wordpress.verify(delivery, context)).toEqual({
    verdict: "verified",
    deliveryId: headers.get("webhook-id"),
    replay: "delivery-id",
  })
  return wordpress.read({ body: JSON.parse(body) as unknown, headers, path: "/" }, context)
}

async function events(does: readonly Call[], request?: Request) {
  expect(await wp(does, request)).toEqual([])
  const readings = await Promise.all(received.map(read))
  return readings.map((reading) => (reading.reading === "events" ? reading.events[0] : reading.reading))
}

const TIDES = {
  type: "post",
  id: "42",
  slug: "tides",
  url: "https://www.example.com/tides/",
  tags: ["term-3"],
}
const told = (kind: string, more: object = {}) => ({ ...TIDES, kind, topic: `post.${kind}`, ...more })

describe("a post", () => {
  const draft = { posts: [{ ...POST, post_status: "draft" }] }

  it.for([
    ["published", draft, [["update", 42, { post_status: "publish" }]], "publish"],
    ["published at its time", { posts: [{ ...POST, post_status: "future" }] }, [["publish", 42]], "publish"],
    ["new and published at once", { posts: [] }, [["insert", POST]], "publish"],
    ["changed", {}, [["update", 42, {}]], "update"],
    ["changed in what only a plugin knows", {}, [["do_action", "tidemark_changed", 42]], "update"],
    ["a draft again", {}, [["update", 42, { post_status: "draft" }]], "unpublish"],
    ["private now", {}, [["update", 42, { post_status: "private" }]], "unpublish"],
    ["in the trash", {}, [["update", 42, { post_status: "trash" }]], "unpublish"],
    ["deleted for good", {}, [["delete", 42]], "delete"],
    ["of a status that a plugin made public", {}, [["update", 42, { post_status: "sold-out" }]], "update"],
  ] as const satisfies readonly (readonly [string, Request, readonly Call[], string])[])(
    "that is %s",
    async ([, request, does, kind]) => {
      expect(await events(does, request)).toEqual([told(kind)])
    },
  )

  it.for([
    ["a draft is saved", draft, [["update", 42, { post_name: "ebb" }]]],
    ["a draft is deleted", draft, [["delete", 42]]],
    ["a new draft", { posts: [] }, [["insert", { ...POST, post_status: "draft" }]]],
    ["a revision is kept", {}, [["insert", { ...POST, ID: 43, post_type: "revision" }]]],
    ["one comes out of the trash as a draft", draft, [["update", 42, { post_status: "draft" }]]],
    ["its terms are set anew, and are the same", {}, [["set_terms", 42, [3]]]],
  ] as const satisfies readonly (readonly [string, Request, readonly Call[]])[])(
    "is not told of where %s",
    async ([, request, does]) => {
      expect(await events(does, request)).toEqual([])
    },
  )

  it("is told with its old address, and once however often it was saved", async () => {
    const does = [
      ["update", 42, { post_name: "neap" }],
      ["update", 42, { post_name: "ebb" }],
    ] as const
    const [ebb, old] = ["https://www.example.com/ebb/", "https://www.example.com/tides/"]
    expect(await events(does)).toEqual([
      told("update", { slug: "ebb", url: ebb, previousSlug: "tides", previousUrl: old }),
    ])
  })

  it("is told with the terms that it had and those that it has", async () => {
    const both = { tags: ["term-3", "term-7"] }
    expect(await events([["update", 42, { terms: [7] }]])).toEqual([told("update", both)])
    received.length = 0
    // Without being saved itself.
    expect(await events([["set_terms", 42, [7]]])).toMatchObject([
      { kind: "update", id: "42", tags: expect.arrayContaining(both.tags) },
    ])
    expect(JSON.parse(received[0]?.body ?? "")).toMatchObject({
      data: {
        terms: expect.arrayContaining([{ taxonomy: "post_tag", id: 7, slug: "sea", path: "/post_tag/sea/" }]),
      },
    })
  })

  it("that came and went within one request is not told of", async () => {
    const does = [
      ["insert", POST],
      ["delete", 42],
    ] as const
    expect(await events(does, { posts: [] })).toEqual([])
  })
})

describe("other things", () => {
  it("an attachment, which has no status of its own", async () => {
    const file = { ID: 9, post_type: "attachment", post_status: "inherit", post_name: "photo" }
    expect(await events([["delete", 9]], { posts: [file] })).toMatchObject([
      { kind: "delete", type: "attachment", id: "9" },
    ])
  })

  it("a term", async () => {
    const does = [
      ["insert_term", { term_id: 8, taxonomy: "post_tag", slug: "wind" }],
      ["update_term", 7, { slug: "ocean" }],
      ["delete_term", 3],
    ] as const
    expect(await events(does)).toMatchObject([
      { kind: "publish", type: "post_tag", id: "8", tags: ["term-8"] },
      { kind: "update", type: "post_tag", id: "7", slug: "ocean", previousSlug: "sea" },
      { kind: "delete", type: "category", id: "3", url: "https://www.example.com/category/news/" },
    ])
  })

  it("a page or category whose address others begin with: everything", async () => {
    const page = { ID: 1, post_type: "page", post_status: "publish", post_name: "about" }
    const child = { ...page, ID: 2, post_parent: 1, post_name: "team" }
    expect(await events([["update", 1, { post_name: "us" }]], { posts: [page, child] })).toEqual([
      expect.objectContaining({ kind: "update", type: "page", previousSlug: "about" }),
      "unreadable",
    ])
    received.length = 0
    expect(await events([["update", 1, { post_name: "us" }]], { posts: [page] })).toHaveLength(1)
    received.length = 0
    expect(await events([["update_term", 3, { slug: "latest" }]])).toHaveLength(2)
  })

  it.for(["switch_theme", "customize_save_after", "wp_update_nav_menu", "permalink_structure_changed"])(
    "%s: everything",
    async (hook) => {
      expect(
        await events([
          ["do_action", hook],
          ["delete", 42],
        ]),
      ).toEqual(["unreadable"])
    },
  )

  it("more than can be told one by one: everything", async () => {
    const does = (count: number) =>
      Array.from({ length: count }, (_, index) => ["insert", { ...POST, ID: index + 1 }] as const)
    expect(await events(does(200), { posts: [] })).toHaveLength(200)
    received.length = 0
    expect(await events(does(201), { posts: [] })).toEqual(["unreadable"])
    expect(JSON.parse(received[0]?.body ?? "")).toMatchObject({ data: { kind: "update" } })
  })

  it("more than can be told, and some of it gone: everything, for good", async () => {
    const posts = Array.from({ length: 201 }, (_, index) => ({ ...POST, ID: index + 1 }))
    const does = posts.map(({ ID }) => ["update", ID, { post_status: ID < 9 ? "trash" : "publish" }] as const)
    await wp(does, { posts })
    expect(await Promise.all(received.map(read))).toMatchObject([
      { reading: "unreadable", kind: "unpublish" },
    ])
  })
})

describe("delivery", () => {
  const changed = [["update", 42, {}]] as const

  it("is tried again by WP-Cron, under the same id, and given up after four more attempts", async () => {
    status = 503
    let [next] = await wp(changed)
    const seconds: number[] = []
    while (next) {
      seconds.push(next.in)
      const [left, ...more] = await wp([["do_action", next.hook, ...next.arguments]], { posts: [] })
      expect(more).toEqual([])
      next = left
    }
    expect(seconds).toEqual([60, 300, 1800, 7200])
    expect(received).toHaveLength(5)
    expect(new Set(received.map(({ headers }) => headers.get("webhook-id"))).size).toBe(1)
    expect(new Set(received.map(({ body }) => body)).size).toBe(1)
    for (const delivery of received) expect(await read(delivery)).toMatchObject({ reading: "events" })
  })

  it.for([401, 404, 302, 500])("takes %i for a failure", async (answer) => {
    status = answer
    expect(await wp(changed)).toHaveLength(1)
    expect(received).toHaveLength(1)
  })

  it("does not work a list off against somebody who does not answer", async () => {
    const posts = [1, 2, 3].map((ID) => ({ ...POST, ID }))
    const does = posts.map(({ ID }) => ["update", ID, {}] as const)
    const constants = { TIDEMARK_URL: "http://127.0.0.1:1/", TIDEMARK_SECRET: SECRET }
    const scheduled = await wp(does, { posts, constants })
    expect(scheduled.map((each) => [each.in, each.arguments[2]])).toEqual([
      [60, 1],
      [0, 0],
      [0, 0],
    ])
  })

  it("does nothing without its two constants", async () => {
    expect(await wp(changed, { constants: { TIDEMARK_URL: address } })).toEqual([])
    expect(received).toEqual([])
  })
})
