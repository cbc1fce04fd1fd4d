import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { nobody } from "../../cli/testing/fake-worker.ts"
import { run } from "../../cli/testing/run.ts"

/** `explain --source` in front of a first deploy: no Worker runs, and no secret is anywhere. */

const PUBLIC_KEY = "a key that the environment holds"

const CONFIG = {
  tokens: [{ name: "deploy", sha256: { secret: "DEPLOY_TOKEN_SHA256" }, scopes: ["publish:*"] }],
  namespaces: { blog: { hosts: ["www.example.com"] } },
  sources: {
    cms: {
      type: "contentful",
      secret: { secret: "CONTENTFUL_SECRET" },
      namespace: "blog",
      rules: [
        { when: { type: "author" }, tags: ["author-{id}"] },
        { tags: ["post-{id}"], mode: "purge" },
      ],
    },
    commerce: {
      type: "adobe-io-events",
      secret: { secret: "ADOBE_CLIENT_ID" },
      namespace: "blog",
      tenant: "acme",
    },
    plugin: { type: "wordpress", secret: { secret: "PLUGIN_SECRET" }, namespace: "blog" },
  },
  targets: {
    cdn: {
      type: "cloudflare",
      zone: "023e105f4ecef8ad9ca31a8372d0c353",
      token: { secret: "CDN_TOKEN" },
      plan: "free",
      namespaces: ["*"],
      tenants: ["default", "acme"],
    },
    front: { type: "varnish", endpoints: "dev", namespaces: ["blog"] },
  },
}

let directory = ""
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "tidemark-explain-"))
  await writeFile(join(directory, "tidemark.config.mjs"), `export default ${JSON.stringify(CONFIG)}\n`)
  const entry = { sys: { id: "p1", type: "Entry", contentType: { sys: { id: "post" } } } }
  await writeFile(join(directory, "entry.json"), JSON.stringify(entry))
  const product = { type: "com.adobe.commerce.observer.catalog_product_delete_commit_after" }
  await writeFile(
    join(directory, "product.json"),
    JSON.stringify({ ...product, data: { value: { entity_id: 7, url_key: "mug" } } }),
  )
  const post = { post_id: 7, post: { ID: 7, post_type: "post", post_status: "publish", post_name: "tides" } }
  await writeFile(join(directory, "post.json"), JSON.stringify(post))
})
afterAll(() => rm(directory, { recursive: true, force: true }))

const TOPIC = "x-contentful-topic: ContentManagement.Entry.publish"

const explain = (args: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  run(["explain", ...args], { cwd: directory, env })

test("by the source's adapter and its rules, of the configuration that lies here", async () => {
  const args = ["--source", "cms", "--header", TOPIC, "--body", "entry.json"]
  const { code, stdout, stderr } = await explain([...args, "--json"])
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
  expect(JSON.parse(stdout)).toMatchObject({
    rule: 1,
    invalidations: [{ namespace: "blog", tags: ["post-p1"], mode: "purge" }],
    targets: { cdn: { calls: 1 }, front: { calls: 1 } },
  })
  expect((await explain(args)).stdout).toContain("rule 1, counted from 0, matches")
})

test("of a source that no sample can be made of, and that is another tenant's", async () => {
  const { code, stdout, stderr } = await explain(["--source", "commerce", "--body", "product.json", "--json"])
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
  expect(JSON.parse(stdout)).toMatchObject({
    invalidations: [{ tags: ["catalog_product-7", "type-catalog_product"], mode: "purge" }],
    targets: { cdn: {} },
  })
})

test("a secret that is there decides by its form, and is not shown", async () => {
  const args = [
    "--source",
    "plugin",
    "--header",
    "x-wp-webhook-name: post_update",
    "--body",
    "post.json",
    "--json",
  ]
  const { code, stdout, stderr } = await explain(args, { PLUGIN_SECRET: PUBLIC_KEY })
  expect(code).toBe(0)
  expect(JSON.parse(stdout)).toMatchObject({ invalidations: [{ tags: ["post-7", "type-post"] }] })
  expect(stdout + stderr).not.toContain(PUBLIC_KEY)
})

test("of no source that there is it says which there are", async () => {
  const { code, stdout, stderr } = await explain(["--source", "nobody", "--body", "entry.json"])
  expect([code, stdout]).toEqual([2, ""])
  expect(stderr).toContain("it has cms, commerce, plugin")
})

test("where an address is given, the Worker there is asked", async () => {
  const env = { TIDEMARK_URL: await nobody() }
  expect((await explain(["--source", "cms", "--body", "entry.json"], env)).code).toBe(5)
  const named = ["--source", "cms", "--body", "entry.json", "--worker", env.TIDEMARK_URL]
  expect((await explain(named)).code).toBe(5)
})
