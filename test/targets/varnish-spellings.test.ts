// Real Varnishes with the VCL that we ship: one as it is, and one that does not normalise addresses, as older copies of
// it and most other caches. Both are purged by what the plan says for them, through the driver.
import { once } from "node:events"
import { readFile } from "node:fs/promises"
import { createServer, request } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import * as fc from "fast-check"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type { RunningServer } from "../../cli/servers/process.ts"
import { startVarnish } from "../../cli/servers/varnish.ts"
import { cut, toBatch } from "../../dispatch/batches.ts"
import { planEntries } from "../../dispatch/plan.ts"
import { FAST, SHARED, soon } from "../../dispatch/targets/conformance.ts"
import { varnish as driver } from "../../dispatch/targets/varnish.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import { NO_SELECTORS } from "../../protocol/invalidation.ts"
import { asNormal, checkUrl } from "../../protocol/selector.ts"
import { respelling } from "../support/spellings.ts"

/** A site whose pages all say the same: how often something was published. And what it was asked for. */
let edition = 0
let lastAsked = ""
const everAsked = new Set<string>()
const site = createServer((asked, response) => {
  lastAsked = `${asked.headers.host}${asked.url}`
  everAsked.add(lastAsked)
  response.setHeader("cache-control", "max-age=3600")
  response.end(String(edition))
})

const VCL = join(import.meta.dirname, "../../infra/varnish/tidemark.vcl")
const nodes: Record<"ours" | "plain", RunningServer | undefined> = { ours: undefined, plain: undefined }

beforeAll(async () => {
  site.listen(0, "127.0.0.1")
  await once(site, "listening")
  const backend = { host: "127.0.0.1", port: (site.address() as AddressInfo).port }
  nodes.ours = await startVarnish({ backend })
  const plain = (await readFile(VCL, "utf8"))
    .replace("\tcall tidemark_normal_url;\n", "")
    .replace(
      "sub vcl_recv {",
      "sub unused { call tidemark_normal_url; }\nsub vcl_recv { if (false) { call unused; }",
    )
  nodes.plain = await startVarnish({ backend, vcl: plain })
})
afterAll(async () => {
  for (const node of Object.values(nodes)) await node?.stop()
  site.closeAllConnections()
  site.close()
  await once(site, "close")
})

type NodeName = keyof typeof nodes

/** The edition that a browser gets. The scheme is not Varnish's affair. */
async function visit(name: NodeName, url: string): Promise<number> {
  const { host, pathname, search } = new URL(url)
  return ask(name, host, pathname + search)
}

async function ask(name: NodeName, host: string, path: string): Promise<number> {
  const port = nodes[name]?.port
  const asked = request({ host: "127.0.0.1", port, path, headers: { host }, agent: false })
  asked.end()
  const [response] = await once(asked, "response")
  let body = ""
  for await (const chunk of response) body += chunk
  expect(response.statusCode, body).toBe(200)
  return Number(body)
}

/** What a lane does with one entry. */
async function publish(
  name: NodeName,
  selectors: { urls: string[] } | { prefixes: string[] },
): Promise<void> {
  edition += 1
  const endpoints = [`http://127.0.0.1:${nodes[name]?.port}`]
  const config = parseConfig({
    namespaces: { blog: {} },
    targets: { node: { type: "varnish", endpoints, namespaces: ["*"] } },
  })
  const target = config.targets["node"]
  if (!target) throw new Error("the target is there")
  const body = {
    kind: "invalidation",
    namespace: "blog",
    mode: "purge",
    by: { token: "deploy" },
    ...NO_SELECTORS,
    ...selectors,
  } as const
  const capabilities = driver.capabilities({ type: "varnish" })
  const context = { config, tenant: "default", target, capabilities }
  const { items } = planEntries([{ epoch: edition, generation: 1, seq: edition, body }], context)
  const { purge } = driver.create(
    { type: "varnish", endpoints, ...SHARED },
    { fetch: globalThis.fetch.bind(undefined), now: Date.now },
  )
  for (const bundle of cut(items, capabilities)) {
    const batch = await toBatch(FAST.tenant, "node", bundle)
    expect(await purge(batch, soon())).toMatchObject({ outcome: "accepted" })
  }
}

function written(url: string): string {
  const checked = checkUrl(url)
  if ("problem" in checked) throw new Error(checked.problem)
  return checked.value
}
const withoutQuery = (url: string): string => url.split("?")[0] ?? ""

describe("a page that was purged by one spelling of its address", () => {
  it("is gone by any other", async () => {
    await fc.assert(
      fc.asyncProperty(
        respelling,
        fc.boolean(),
        fc.boolean(),
        async ({ url, spelled }, isSwapped, isPrefix) => {
          const [published, visited] = isSwapped ? [url, spelled] : [spelled, url]
          await visit("ours", published)
          await visit("ours", visited)
          const said = written(published)
          await publish("ours", isPrefix ? { prefixes: [withoutQuery(said)] } : { urls: [said] })
          expect([await visit("ours", published), await visit("ours", visited)]).toEqual([edition, edition])
        },
      ),
      { numRuns: 150 },
    )
  })

  it("is gone by that one and by the normal one where the cache goes by bytes", async () => {
    await fc.assert(
      fc.asyncProperty(respelling, fc.boolean(), async ({ url, spelled }, isPrefix) => {
        const said = written(spelled)
        expect(asNormal(said)).toBe(url)
        await visit("plain", said)
        await visit("plain", url)
        await publish("plain", isPrefix ? { prefixes: [withoutQuery(said)] } : { urls: [said] })
        expect([await visit("plain", said), await visit("plain", url)]).toEqual([edition, edition])
      }),
      { numRuns: 150 },
    )
  })

  it("is gone below a prefix in either case, although the prefix was published in upper case", async () => {
    const pages = ["/%D9%85/1", "/%d9%85/1", "/%d9%85/%D9"]
    for (const page of pages) await ask("plain", "case.test", page)
    await publish("plain", { prefixes: ["https://case.test/%D9%85"] })
    for (const page of pages) expect(await ask("plain", "case.test", page), page).toBe(edition)
  })
})

describe("the VCL", () => {
  it.each([
    ["/%d9%85%dA%Ab%af%FF", "/%D9%85%DA%AB%AF%FF"],
    ["/%41%5a%61%7a%30%39%2d%2e%5f%7e", "/AZaz09-._~"],
    ["/a?b=%41&c=%26%3d", "/a?b=A&c=%26%3D"],
    // Reserved, or no character.
    ["/%2f%3f%23%25%26%2b%2a%27%21%00%7f", "/%2F%3F%23%25%26%2B%2A%27%21%00%7F"],
    // Dot segments are not made, and `%2541` is no `%41`.
    ["/a/%2e%2E/b", "/a/%2E%2E/b"],
    ["/a/.%2e?b=%2e", "/a/.%2E?b=%2E"],
    ["/a%2e%2e/b", "/a../b"],
    ["/%2541", "/%2541"],
    // Behind a `%` that encodes nothing.
    ["/%%341", "/%%341"],
    ["/%%34%31", "/%%341"],
    ["/%4%31%zz%d9", "/%4%31%zz%D9"],
  ])("asks the site for %s as %s", async (asked, normal) => {
    await ask("ours", "raw.test", asked)
    expect(lastAsked).toBe(`raw.test${normal}`)
  })

  it("gives an address its normal form, but for marks and dot segments", async () => {
    const bytes = fc.array(
      fc.constantFrom("%", "4", "1", "d", "9", "%41", "%d9", "%2E", "%7e", "%25", "/", "z"),
      {
        maxLength: 10,
      },
    )
    await fc.assert(
      fc.asyncProperty(bytes, async (parts) => {
        const url = `https://form.test/x${parts.join("")}`
        fc.pre(!/\/(\.|%2e){1,2}(\/|$)/i.test(url))
        await ask("ours", "form.test", new URL(url).pathname)
        expect(everAsked).toContain(`form.test${new URL(asNormal(url)).pathname}`)
      }),
      { numRuns: 200 },
    )
  })

  it("takes a host with a dot at its end for the same", async () => {
    await ask("ours", "dot.test", "/a")
    edition += 1
    expect(await ask("ours", "DOT.test.", "/a")).toBe(edition - 1)
    await ask("ours", "dot.test.:8080", "/a")
    expect(lastAsked).toBe("dot.test:8080/a")
  })
})
