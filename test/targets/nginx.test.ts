// A real nginx with the configuration that we ship, purged by the driver. The module that Debian packages (2.3) knows
// single keys alone; for the rest TIDEMARK_NGINX_MODULE names the file of a newer one, built from
// github.com/nginx-modules/ngx_cache_purge for the same nginx.
import { once } from "node:events"
import { createServer, request } from "node:http"
import type { AddressInfo } from "node:net"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { type RunningNginx, startNginx } from "../../cli/servers/nginx.ts"
import { findNginx, nginxConfiguration, type NginxInstall } from "../../cli/servers/provision.ts"
import { planEntries } from "../../dispatch/plan.ts"
import { FAST, SHARED, soon, valueOf } from "../../dispatch/targets/conformance.ts"
import { nginx as driver } from "../../dispatch/targets/nginx.ts"
import type { Kind, Outcome } from "../../dispatch/targets/target.ts"
import { tagHeader } from "../../client/tag-header.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import { NO_SELECTORS } from "../../protocol/invalidation.ts"
import { asNormal } from "../../protocol/selector.ts"
import { fastly } from "../../protocol/tag-rules.ts"

const newer = process.env["TIDEMARK_NGINX_MODULE"]
const say = (line: string) => void process.stderr.write(`${line}\n`)
const install = await findNginx({ onProgress: say }).catch((error: unknown) => {
  say(`skipped, for want of a real nginx: ${String(error)}`)
  return undefined
})
if (install !== undefined && newer === undefined) {
  say(
    "skipped, for want of a module that knows wildcards: nginx's prefixes, hosts and everything. " +
      "TIDEMARK_NGINX_MODULE names the file of one (github.com/nginx-modules/ngx_cache_purge).",
  )
}

/** A site whose pages say how often they were made. */
const made = new Map<string, number>()
const site = createServer((asked, response) => {
  const page = `${asked.headers.host}${asked.url}`
  made.set(page, (made.get(page) ?? 0) + 1)
  response.setHeader("cache-control", "max-age=3600")
  if (asked.url?.startsWith("/varies")) response.setHeader("vary", "accept-language")
  if (asked.url === "/labelled") {
    // What an application may say beside them.
    response.setHeader("content-security-policy", "default-src 'self'; ".repeat(40))
    response.setHeader("set-cookie", [`a=${"x".repeat(200)}`, `b=${"y".repeat(200)}`])
    const tags = Array.from({ length: 900 }, (_, index) => `catalog_product_${10_000 + index}`)
    for (const [name, value] of Object.entries(tagHeader("shop", tags, fastly).headers))
      response.setHeader(name, value)
  }
  response.end(`${page} ${made.get(page)}`)
})
beforeAll(async () => {
  site.listen(0, "127.0.0.1")
  await once(site, "listening")
})
afterAll(async () => {
  site.closeAllConnections()
  site.close()
  await once(site, "close")
})

/** What the plan has said of a published url. */
function planned(url: string) {
  const config = parseConfig({
    namespaces: { blog: {} },
    targets: {
      node: { type: "nginx", endpoints: ["http://127.0.0.1:9"], module: "cache-purge", namespaces: ["*"] },
    },
  })
  const target = config.targets["node"]
  if (!target) throw new Error("the target is there")
  const capabilities = driver.capabilities({ type: "nginx", module: "cache-purge" })
  const body = {
    kind: "invalidation",
    namespace: "blog",
    mode: "purge",
    by: { token: "deploy" },
    ...NO_SELECTORS,
    urls: [url],
  } as const
  const context = { config, tenant: "default", target, capabilities }
  return planEntries([{ epoch: 1, generation: 1, seq: 1, body }], context).items
}

/** An nginx, its purge driver, and a visitor. */
async function stage(
  wildcards: boolean,
  options: Pick<Parameters<typeof startNginx>[0], "edit" | "location"> = {},
) {
  const module = wildcards ? newer : install?.module
  const { port } = site.address() as AddressInfo
  const running = await startNginx({
    backend: { host: "127.0.0.1", port },
    install: { ...(install as NginxInstall), module },
    ...options,
  })
  const { purge } = driver.create(
    { type: "nginx", endpoints: [running.purgeUrl], module: "cache-purge", wildcards, ...SHARED },
    { fetch: globalThis.fetch.bind(undefined), now: Date.now },
  )
  return {
    running,
    purge: (kind: Kind, value: string): Promise<Outcome> =>
      purge({ ...FAST, mode: "purge", values: [valueOf(kind, value)] }, soon()),
    visit: (page: string, headers: Record<string, string> = {}) => visit(running, page, headers),
  }
}

/** How often the page had been made when this copy of it was. `page` is host and path. */
async function visit(
  { port }: RunningNginx,
  page: string,
  headers: Record<string, string> = {},
): Promise<number> {
  const slash = page.indexOf("/")
  const asked = request({
    host: "127.0.0.1",
    port,
    path: page.slice(slash),
    headers: { host: page.slice(0, slash), ...headers },
    agent: false,
  })
  asked.end()
  const [response] = await once(asked, "response")
  let body = ""
  for await (const chunk of response) body += chunk
  expect(body.startsWith(`${page} `)).toBe(true)
  return Number(body.slice(page.length + 1))
}

describe.skipIf(install === undefined)("a real nginx", () => {
  describe("with the module that Debian has", () => {
    let nginx: Awaited<ReturnType<typeof stage>>
    beforeAll(async () => {
      nginx = await stage(false)
    })
    afterAll(() => nginx.running.stop())

    it("drops a page by its url, and keeps the others", async () => {
      const pages = ["a.test/1?page=2", "a.test/1?page=3", "a.test/1", "b.test/1?page=2"]
      for (const page of pages) expect([await nginx.visit(page), await nginx.visit(page)]).toEqual([1, 1])
      expect(await nginx.purge("url", "http://a.test/1?page=2")).toEqual({ outcome: "accepted", status: 200 })
      expect(await Promise.all(pages.map((page) => nginx.visit(page)))).toEqual([2, 1, 1, 1])
    })

    it.each(["/a%2Fb", "/a//b", "/a%20b?c=%26&d='(x)|*!", "/é%C3%A9~", "/x/y/..%2fb", "/[1]?[2]{3}"])(
      "drops %s, as a browser asks for it",
      async (path) => {
        const { host, pathname, search, href } = new URL(`http://odd.test${path}`)
        const page = host + pathname + search
        expect([await nginx.visit(page), await nginx.visit(page)]).toEqual([1, 1])
        expect(await nginx.purge("url", href)).toEqual({ outcome: "accepted", status: 200 })
        expect(await nginx.visit(page)).toBe(2)
      },
    )

    it("tells hosts by name, in any case and without ports", async () => {
      expect(await nginx.visit("name.test/")).toBe(1)
      expect(await nginx.purge("url", "http://name.test:8080/")).toMatchObject({ outcome: "accepted" })
      expect(await nginx.visit("name.test/")).toBe(2)
    })

    it("keeps no page by a spelling that is not purged, whichever was published", async () => {
      const asked = ["proxy_cache_bypass $tidemark_odd;", "proxy_no_cache $tidemark_odd;"]
      const at = await stage(false, { location: asked.join("\n") })
      const spellings = [
        "/%d9%85~",
        "/%D9%85~",
        "/%d9%85%7e",
        "/%D9%85%7E",
        "/%D9%85%7e",
        "/%dA%85~",
        "/%D9%d8~",
      ]
      try {
        for (const published of spellings) {
          for (const path of spellings) await at.visit(`odd.test${path}`)
          const before = new Map(made)
          for (const { value } of planned(`http://odd.test${published}`))
            expect(await at.purge("url", value)).toMatchObject({ outcome: "accepted" })
          const same = spellings.filter(
            (path) => asNormal(`http://odd.test${path}`) === asNormal(`http://odd.test${published}`),
          )
          for (const path of same) {
            const page = `odd.test${path}`
            expect(await at.visit(page), `${published}, asked for by ${path}`).toBe(
              (before.get(page) ?? 0) + 1,
            )
          }
        }
        // And what is spelled as browsers and sites do is kept.
        for (const path of ["/%d9%85", "/%D9%85", "/%2F%20%C3", "/a?b=%26"]) {
          const first = await at.visit(`kept.test${path}`)
          expect(await at.visit(`kept.test${path}`), path).toBe(first)
        }
      } finally {
        await at.running.stop()
      }
    })

    it("lets a page through whose labels had more to say than there was room for", async () => {
      expect(await nginx.visit("labels.test/labelled")).toBe(1)
    })

    it("says that there was nothing, which is well", async () => {
      const outcome = await nginx.purge("url", "http://a.test/never-asked-for")
      expect(outcome).toMatchObject({ outcome: "accepted" })
      expect(outcome.outcome === "accepted" && [404, 412].includes(outcome.status)).toBe(true)
    })

    it("is asked for nothing that it would pass over: 2.3 answers 404 to a wildcard", async () => {
      expect(await nginx.purge("prefix", "http://a.test/")).toMatchObject({ outcome: "unsupported" })
    })

    it("lets nobody in whom the configuration does not name, and takes no other method", async () => {
      const statusOf = async (method: string, localAddress: string) => {
        const { port } = new URL(nginx.running.purgeUrl)
        const asked = request({
          host: "127.0.0.1",
          port,
          method,
          path: "/a.test/http/1",
          localAddress,
          agent: false,
        })
        asked.end()
        const [response] = await once(asked, "response")
        response.resume()
        return response.statusCode
      }
      expect(await statusOf("PURGE", "127.0.0.2")).toBe(403)
      expect(await statusOf("GET", "127.0.0.1")).toBe(405)
    })

    it("is told from the site itself, which answers 200 to what it does not know", async () => {
      const asked = driver.create(
        { type: "nginx", endpoints: [nginx.running.url], module: "cache-purge", wildcards: false, ...SHARED },
        { fetch: globalThis.fetch.bind(undefined), now: Date.now },
      )
      const batch = { ...FAST, mode: "purge" as const, values: [valueOf("url", "http://a.test/1")] }
      expect(await asked.purge(batch, soon())).toMatchObject({ outcome: "unauthorised", status: 200 })
    })

    it("finds a page that varies only where it is told not to tell its variants apart", async () => {
      const inDutch = { "accept-language": "nl" }
      const indifferent = await stage(false, { location: "proxy_ignore_headers Vary;" })
      try {
        for (const [at, expected] of [
          [nginx, 1],
          [indifferent, 2],
        ] as const) {
          made.clear()
          expect(await at.visit("vary.test/varies", inDutch)).toBe(1)
          await at.purge("url", "http://vary.test/varies")
          expect(await at.visit("vary.test/varies", inDutch)).toBe(expected)
        }
      } finally {
        await indifferent.running.stop()
      }
    })

    it("would take the configuration for Plus, but for the one directive that Plus alone has", async () => {
      const plus = await nginxConfiguration("tidemark-plus.conf")
      const lines = plus.split("\n").filter((line) => !line.includes("proxy_cache_purge $tidemark_is_purge;"))
      expect(lines.length).toBe(plus.split("\n").length - 1)
      const other = await stage(false, { edit: () => lines.join("\n") })
      await other.running.stop()
    })
  })

  describe.skipIf(newer === undefined)("with a module that knows wildcards", () => {
    let nginx: Awaited<ReturnType<typeof stage>>
    beforeAll(async () => {
      nginx = await stage(true)
    })
    afterAll(() => nginx.running.stop())

    const PAGES = [
      "w.test/blog",
      "w.test/blog?page=2",
      "w.test/blog/1",
      "w.test/about",
      "w.test/",
      "other.test/blog/1",
    ]
    it.each([
      ["url", "http://w.test/blog", [2, 1, 1, 1, 1, 1]],
      ["url", "http://w.test/", [1, 1, 1, 1, 2, 1]],
      ["prefix", "http://w.test/blog/", [2, 2, 2, 1, 1, 1]],
      ["prefix", "http://w.test/", [2, 2, 2, 2, 2, 1]],
      ["prefix", "https://w.test/", [1, 1, 1, 1, 1, 1]],
      ["host", "w.test", [2, 2, 2, 2, 2, 1]],
      ["everything", "*", [2, 2, 2, 2, 2, 2]],
    ] as const)("drops by %s %s what it is about, and keeps the rest", async (kind, value, expected) => {
      await nginx.purge("everything", "*")
      made.clear()
      for (const page of PAGES) expect([await nginx.visit(page), await nginx.visit(page)]).toEqual([1, 1])
      expect(await nginx.purge(kind, value)).toMatchObject({ outcome: "accepted" })
      expect(await Promise.all(PAGES.map((page) => nginx.visit(page)))).toEqual(expected)
    })

    it("drops every variant of a page, where its configuration says so", async () => {
      const edit = (text: string) => text.replace(`"$tidemark_purge_page#"`, `"$tidemark_purge_page#*"`)
      const thorough = await stage(true, { edit })
      try {
        const languages = ["nl", "fr"].map((language) => ({ "accept-language": language }))
        const versions = () => Promise.all(languages.map((each) => thorough.visit("vary.test/varies", each)))
        made.clear()
        await versions()
        expect(await thorough.visit("vary.test/varies/not")).toBe(1)
        await thorough.purge("url", "http://vary.test/varies")
        expect(new Set(await versions())).toEqual(new Set([3, 4]))
        expect(await thorough.visit("vary.test/varies/not")).toBe(1)
      } finally {
        await thorough.running.stop()
      }
    })

    it("reaches a prefix that is longer than the module compares", async () => {
      const page = `w.test/${"long/".repeat(120)}page`
      made.clear()
      expect(await nginx.visit(page)).toBe(1)
      await nginx.purge("prefix", `http://${page.slice(0, -"page".length)}`)
      expect(await nginx.visit(page)).toBe(2)
    })
  })
})
