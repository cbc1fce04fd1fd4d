import { generateKeyPairSync } from "node:crypto"
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type Finished, run, start } from "../../cli/testing/run.ts"
import type { ConfigInput } from "../../protocol/config/schema.ts"
import { type Edge, startEdge } from "../support/edge.ts"

/** The command against a Worker as it is. */

const PAIR = generateKeyPairSync("rsa", { modulusLength: 2_048 })
const OURS = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
const SECRETS = {
  CONTENTFUL_SECRET: "a".repeat(64),
  PAYLOAD_SECRET: OURS,
  SHOP_SECRET: OURS,
  WORDPRESS_SECRET: OURS,
  PLUGIN_SECRET: "a secret of WP Webhooks",
  STACK_SECRET: "an organisation's secret",
  STACK_KEY: PAIR.publicKey.export({ type: "spki", format: "pem" }).toString(),
  // These the Worker alone holds.
  ADOBE_CLIENT_ID: "client",
  NEXT_SECRET: "whsec_VGlkZW1hcmsncyB0ZXN0cyBvbmx5LCBubyBzZWNyZXQ=",
}
const { ADOBE_CLIENT_ID: _, NEXT_SECRET: _next, ...HELD } = SECRETS

const rules = [
  { when: { type: "landing-*" } },
  { when: { type: ["article", "note"] }, tags: ["{type}-{id}", "type-{type}"], urls: ["{url?}"] },
]
const source = (type: string, secret: string, more: object = {}) => ({
  type,
  secret: { secret },
  namespace: "blog",
  rules,
  ...more,
})

const CONFIG = {
  namespaces: { nothing: {}, blog: { prefixes: ["https://www.example.com/blog/"] } },
  sources: {
    "contentful-main": source("contentful", "CONTENTFUL_SECRET", { fields: { url: "/fields/url/@locale" } }),
    payload: source("payload", "PAYLOAD_SECRET"),
    shop: source("standard-webhooks", "SHOP_SECRET", { rules: undefined }),
    rotated: source("standard-webhooks", "-", {
      secret: [{ secret: "NEXT_SECRET" }, { secret: "SHOP_SECRET" }],
    }),
    wordpress: source("wordpress", "WORDPRESS_SECRET"),
    plugin: source("wordpress", "PLUGIN_SECRET"),
    // No relay runs here: what concerns a target stays pending.
    slow: source("payload", "PAYLOAD_SECRET", { namespace: "nothing" }),
    commerce: source("adobe-io-events", "ADOBE_CLIENT_ID"),
    stack: source("contentstack", "STACK_SECRET", { environments: ["stage"] }),
    keyed: source("contentstack", "STACK_KEY"),
  },
  targets: {
    "www-http": {
      type: "http",
      url: "https://purge.example/",
      secret: { secret: "HTTP_SECRET" },
      namespaces: ["nothing"],
    },
  },
} as unknown as Omit<ConfigInput, "tokens">

let edge: Edge
let directory = ""

beforeAll(async () => {
  edge = await startEdge({ config: CONFIG, scopes: { reader: ["read:*"] }, secrets: SECRETS })
  directory = await mkdtemp(join(tmpdir(), "tidemark-source-test-"))
  await writeFile(join(directory, "tidemark.config.mjs"), `export default ${JSON.stringify(CONFIG)}\n`)
})
afterAll(async () => {
  await edge.stop()
  await rm(directory, { recursive: true, force: true })
})

async function test(
  args: readonly string[],
  env: Readonly<Record<string, string>> = HELD,
): Promise<Finished & { readonly json: () => any }> {
  const finished = await run(["source", "test", ...args], {
    cwd: directory,
    env: { TIDEMARK_URL: edge.url, TIDEMARK_TOKEN: edge.tokens["reader"] ?? "", ...env },
  })
  for (const secret of [...Object.values(HELD), edge.tokens["reader"] ?? ""]) {
    expect(finished.stdout + finished.stderr).not.toContain(secret)
  }
  return { ...finished, json: () => JSON.parse(finished.stdout) }
}

const recordOf = async (id: number) =>
  (await edge.call("GET", `/v1/invalidations/${id}`, { token: edge.tokens["reader"] ?? "" })).json

describe("a sample that the Worker takes", () => {
  it.for([
    ["contentful-main", ["https://www.example.com/blog/tidemark-test"]],
    ["payload", ["https://www.example.com/blog/tidemark-test"]],
    ["wordpress", ["https://www.example.com/blog/tidemark-test"]],
    ["plugin", ["https://www.example.com/blog/tidemark-test"]],
    ["rotated", undefined],
  ] as const)("of %s", async ([name, urls]) => {
    const { code, stderr, json } = await test([name, "--json"])
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
    const notes = urls ? [] : ["rules.1: {url?}: {url} has no value"]
    expect(json()).toEqual({ accepted: 1, duplicate: false, epochs: [expect.any(Number)], notes })
    const record = await recordOf(json().epochs[0])
    expect(record).toMatchObject({
      by: { source: name },
      tags: ["article-tidemark-test", "type-article"],
      entity: { type: "article", id: "tidemark-test" },
    })
    expect(record.urls).toEqual(urls)
  })

  it("says what it sends, and what came of it", async () => {
    const { code, stdout } = await test(["payload", "--type", "note", "--id", "7"])
    expect(code).toBe(0)
    expect(stdout).toMatch(
      /^sends to http:\/\/127\.0\.0\.1:\d+\/v1\/hooks\/payload, as payload would: note 7 was published\naccepted \d{16} {2}blog {2}invalidate {2}tag note-7, tag type-note, url https:\/\/www\.example\.com\/blog\/tidemark-test {2}→ no target\n$/,
    )
  })

  it.for([
    ["publish", "was published", "invalidate"],
    ["update", "was changed", "invalidate"],
    ["unpublish", "was taken back", "purge"],
    ["delete", "was deleted", "purge"],
    ["rename", "was renamed", "invalidate"],
  ])("says that something happened: %s", async ([kind = "", told = "", mode = ""]) => {
    const { code, stdout, stderr } = await test(["payload", "--event", kind])
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
    expect(stdout).toContain(`article tidemark-test ${told}\n`)
    expect(stdout).toMatch(new RegExp(`\naccepted \\d{16} {2}blog {2}${mode} {2}tag article-tidemark-test, `))
  })

  it("is Contentstack's, by its secret and by a key", async () => {
    const stack = await test(["stack", "--event", "delete"])
    expect([stack.code, stack.stderr]).toEqual([0, ""])
    expect(stack.stdout).toContain("blog  purge  tag article-tidemark-test, tag type-article  → no target\n")
    const key = join(directory, "key.pem")
    await writeFile(key, PAIR.privateKey.export({ type: "pkcs8", format: "pem" }))
    const keyed = await test(["keyed", "--key", key])
    expect([keyed.code, keyed.stderr]).toEqual([0, ""])
    const without = await test(["keyed"])
    expect([without.code, without.stderr]).toEqual([2, expect.stringContaining("--key <file>")])
    const wrong = await test(["keyed", "--key", join(directory, "tidemark.config.mjs")])
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining("holds no private key in PEM")])
  })

  it("is not sent where its sender has no such event", async () => {
    const { code, stdout, stderr } = await test(["contentful-main", "--event", "rename"])
    expect([code, stdout]).toEqual([2, ""])
    expect(stderr).toContain(
      "contentful has no delivery of the kind rename\n  it has publish, unpublish, delete\n",
    )
    expect((await test(["payload", "--event", "archive"])).code).toBe(2)
  })

  it("is told without what it invalidates, where that may not be read", async () => {
    const { code, stdout, stderr } = await test(["payload"], { ...HELD, TIDEMARK_TOKEN: "tm_none" })
    expect(code).toBe(0)
    expect(stdout).toMatch(/\naccepted \d{16}\n$/)
    expect(stderr).toContain("what they invalidate cannot be shown: ")
  })

  it("is waited for until somebody gives up, and is told then", async () => {
    const { child, output, finished } = start(["source", "test", "slow", "--wait=60"], {
      cwd: directory,
      env: { TIDEMARK_URL: edge.url, TIDEMARK_TOKEN: edge.tokens["reader"] ?? "", ...HELD },
    })
    await expect.poll(() => output.stdout, { timeout: 30_000 }).toMatch(/accepted \d{16}\n/)
    const [, id = ""] = /accepted (\d{16})/.exec(output.stdout) ?? []
    child.kill("SIGINT")
    await finished
    expect(child.signalCode).toBe("SIGINT")
    expect(output.stderr).toContain(`see: tidemark status ${id}`)
  })

  it("is another one each time", async () => {
    for (let n = 0; n < 2; n += 1) {
      expect((await test(["contentful-main", "--json"])).json()).toMatchObject({ duplicate: false })
    }
  })

  it("is waited for, and its record shown", async () => {
    const { code, stdout } = await test(["shop", "--wait"])
    expect(code).toBe(0)
    expect(stdout).toMatch(/\ninvalidation \d{16}\n {2}state {6}done\n/)
    expect(stdout).toContain("from source shop")
    const { json } = await test(["shop", "--wait=10", "--json"])
    expect(json()).toMatchObject({
      accepted: 1,
      records: [{ state: "done", tags: ["post-tidemark-test", "type-post"] }],
    })
    expect(json().records[0].epoch).toBe(json().epochs[0])
  })

  it("may come to nothing, and that is a failure: no rule knows it", async () => {
    const { code, stdout, stderr } = await test(["payload", "--type", "other"])
    expect(code).toBe(1)
    expect(stdout).toContain(
      "accepted, and nothing is invalidated\n  no rule of payload matches: publish of other\n",
    )
    expect(stderr).toContain("tidemark explain --source")
  })

  it("is accepted, where its records may not be read", async () => {
    const { code, stderr, json } = await test(["payload", "--wait", "--json"], {
      ...HELD,
      TIDEMARK_TOKEN: "tm_none",
    })
    expect(code).toBe(3)
    expect(stderr).not.toBe("")
    expect(json()).toMatchObject({ accepted: 1, records: [] })
  })
})

describe("where secrets come from", () => {
  it("from .dev.vars, and from what dev made up; the environment comes first", async () => {
    await mkdir(join(directory, ".tidemark"), { recursive: true })
    const own = join(directory, ".tidemark", "dev.vars")
    const vars = join(directory, ".dev.vars")
    try {
      await writeFile(own, `PAYLOAD_SECRET="${OURS}"\n`)
      expect((await test(["payload"], {})).code).toBe(0)
      await writeFile(vars, `PAYLOAD_SECRET="${SECRETS.NEXT_SECRET}"\n`)
      expect((await test(["payload"], {})).code).toBe(4)
      expect((await test(["payload"], { PAYLOAD_SECRET: OURS })).code).toBe(0)
    } finally {
      await rm(own, { force: true })
      await rm(vars, { force: true })
    }
  })
})

describe("what cannot be", () => {
  it.for([
    [["nobody"], 'the configuration has no source "nobody"', "it has contentful-main, payload"],
    [["commerce"], "there is no sample of adobe-io-events", "builder-io, contentful, contentstack, datocms"],
  ] as const)("%s", async ([args, message, more]) => {
    const { code, stdout, stderr } = await test(args)
    expect([code, stdout]).toEqual([2, ""])
    expect(stderr).toContain(message)
    expect(stderr).toContain(more)
  })

  it("a secret that is nowhere", async () => {
    const { code, stderr } = await test(["rotated"], {})
    expect(code).toBe(2)
    expect(stderr).toContain("neither the environment nor .dev.vars holds NEXT_SECRET or SHOP_SECRET")
  })

  it("another secret than the Worker's, and says so rather than speak of tokens", async () => {
    const { code, stderr } = await test(["contentful-main"], { CONTENTFUL_SECRET: "b".repeat(64) })
    expect(code).toBe(4)
    expect(stderr).toContain("the Worker holds another CONTENTFUL_SECRET than this machine does")
    expect(stderr).not.toContain("TIDEMARK_TOKEN")
  })

  it("a source that the Worker does not know", async () => {
    const config = { ...CONFIG, sources: { later: source("payload", "PAYLOAD_SECRET") } }
    await writeFile(join(directory, "later.mjs"), `export default ${JSON.stringify(config)}\n`)
    const { code, stderr } = await test(["later", "--config", "later.mjs"])
    expect(code).toBe(1)
    expect(stderr).toContain("the Worker was deployed from a configuration without this source")
  })

  it("nobody who answers", async () => {
    expect((await test(["payload", "--url", "http://127.0.0.1:1"])).code).toBe(5)
  })
})

// The one source that is asked before it delivers.
it("the Worker answers Adobe's challenge, and nobody else's", async () => {
  const challenge = "8ec8d794-e0ab-42df-9017-e3dada8e84f7"
  const answer = await edge.call("GET", `/v1/hooks/commerce?challenge=${challenge}`)
  expect([answer.status, answer.text]).toEqual([200, challenge])
  expect(answer.headers.get("content-type")).toMatch(/^text\/plain/)
  expect((await edge.call("GET", "/v1/hooks/commerce?challenge=%3Cb%3E")).status).toBe(400)
  expect((await edge.call("GET", `/v1/hooks/payload?challenge=${challenge}`)).status).toBe(405)
})

describe("Allow lists what is allowed, and nothing else", () => {
  const ALLOWED = [
    ["/v1/hooks/payload", "POST"],
    ["/v1/hooks/commerce", "GET, POST"],
    ["/v1/hooks/nobody", "POST"],
    ["/v1/invalidations", "GET, POST"],
    ["/v1/invalidations/1", "GET"],
    ["/v1/epochs", "GET, POST"],
    ["/v1/explain", "POST"],
    ["/healthz", "GET"],
    ["/openapi.json", "GET"],
  ] as const
  const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

  it.for(ALLOWED)("at %s", async ([path, allow]) => {
    // Whoever may GET may ask for the head of it.
    const taken = allow.split(", ").flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : [method]))
    for (const method of METHODS.filter((one) => !taken.includes(one))) {
      const answer = await fetch(`${edge.url}${path}`, { method })
      expect([method, answer.status, answer.headers.get("allow")]).toEqual([method, 405, allow])
    }
    for (const method of taken.filter((one) => one !== "POST")) {
      expect((await fetch(`${edge.url}${path}`, { method })).status).not.toBe(405)
    }
    const posted = await fetch(`${edge.url}${path}`, { method: "POST", body: "{}" })
    expect(posted.status === 405).toBe(!taken.includes("POST"))
  })
})
