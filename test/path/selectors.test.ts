import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type DevProcess, startDevProcess } from "../support/dev-process.ts"

/**
 * The whole path from outside: `tidemark dev` with all ports 0, each kind of selector published by plain HTTP, and a
 * page behind each of two caches looked at before and after. A page tells when it was made, so that two answers alike
 * are one copy.
 */

let dev: DevProcess
beforeAll(async () => {
  dev = await startDevProcess()
})
afterAll(() => dev.stop())

/** Longer than any bound, so that only what never comes to pass fails. */
const PATIENT = { timeout: 15_000 }

const BLOG = "/blog/hello"
const PRODUCT = "/catalog/products/lamp"

const site = () => dev.urls.site ?? ""
const varnish = () => dev.urls.varnish ?? ""
const read = async (url: string): Promise<string> => {
  const response = await fetch(url)
  expect(response.status).toBe(200)
  return response.text()
}
const revisionOf = (page: string) => Number(/data-revision="(\d+)"/.exec(page)?.[1])

async function publish(
  body: unknown,
): Promise<{ status: number; state: string; targets: Record<string, { state: string; as: string | null }> }> {
  // No Content-Type: fetch would say text/plain for a string, so the body is bytes.
  const response = await fetch(`${dev.urls.worker}/v1/invalidations`, {
    method: "POST",
    headers: { authorization: `Bearer ${dev.token}`, prefer: "wait=10" },
    body: new TextEncoder().encode(JSON.stringify(body)),
  })
  const record = (await response.json()) as {
    state: string
    targets: Record<string, { state: string; as: string | null }>
  }
  return { status: response.status, ...record }
}

let revision = 1
async function edit(path: string): Promise<number> {
  revision += 1
  const [, type, slug] = /\/(blog|catalog\/products)\/(.*)$/.exec(path) ?? []
  const response = await fetch(`${site()}/cms/${type === "blog" ? "posts" : "products"}/${slug}`, {
    method: "PUT",
    body: String(revision),
  })
  expect(response.status).toBe(200)
  return revision
}

/** Reads until two answers in a row are one copy: then it is cached. */
async function warm(url: string): Promise<string> {
  let last = ""
  await expect
    .poll(async () => {
      const page = await read(url)
      const isSame = page === last
      last = page
      return isSame
    }, PATIENT)
    .toBe(true)
  return last
}

interface Case {
  readonly name: string
  readonly body: () => Record<string, unknown>
  readonly page: string
  /** A page that must keep its copy in both caches; with `edgeOnly`, in the Worker's. */
  readonly unrelated?: string
  readonly edgeOnly?: boolean
  /** What Varnish does instead of a soft purge. */
  readonly softAs?: string
}

const cases: readonly Case[] = [
  {
    name: "tag",
    body: () => ({ namespace: "blog", tags: ["post-hello"] }),
    page: BLOG,
    unrelated: "/blog/other",
  },
  {
    name: "url",
    body: () => ({ namespace: "blog", urls: [site() + BLOG] }),
    page: BLOG,
    unrelated: "/blog/other",
  },
  {
    name: "prefix",
    body: () => ({ namespace: "blog", prefixes: [`${site()}/blog/`] }),
    page: BLOG,
    unrelated: PRODUCT,
    softAs: "purge",
  },
  // A host is all of this Varnish, whose pages have one; the Worker's cache knows namespaces apart.
  {
    name: "host",
    body: () => ({ namespace: "blog", hosts: [new URL(site()).host] }),
    page: BLOG,
    unrelated: PRODUCT,
    edgeOnly: true,
    softAs: "purge",
  },
  { name: "namespace", body: () => ({ namespace: "blog" }), page: BLOG, unrelated: PRODUCT },
  { name: "parent namespace", body: () => ({ namespace: "catalog" }), page: PRODUCT, unrelated: BLOG },
  { name: "everything", body: () => ({ everything: true }), page: PRODUCT, softAs: "purge" },
]

describe.each(cases)("$name", ({ body, page, unrelated, edgeOnly = false, softAs }) => {
  test.each(["invalidate", "purge"] as const)("%s", async (mode) => {
    const before = await edit(page)
    const caches = [site(), varnish()]
    // Whatever an earlier case left behind is not what is looked at here.
    await publish({ everything: true, mode: "purge" })
    for (const cache of caches)
      await expect.poll(async () => revisionOf(await read(cache + page)), PATIENT).toBe(before)
    for (const cache of caches) await warm(cache + page)
    const kept =
      unrelated === undefined
        ? []
        : await Promise.all(
            (edgeOnly ? [site()] : caches).map(
              async (cache) => [cache + unrelated, await warm(cache + unrelated)] as const,
            ),
          )
    const after = await edit(page)
    for (const cache of caches) expect(revisionOf(await read(cache + page))).toBe(before)

    const record = await publish({ ...body(), mode })
    expect([record.status, record.state]).toEqual([200, "done"])
    const target = record.targets["www-varnish"]
    expect(target).toMatchObject({ state: "done", as: mode === "invalidate" ? (softAs ?? null) : null })

    // Varnish: after a hard purge, and after what stands for one, never again; after a soft one until one revalidation.
    const first = revisionOf(await read(varnish() + page))
    if (mode === "purge" || softAs !== undefined) expect(first).toBe(after)
    await expect.poll(async () => revisionOf(await read(varnish() + page)), PATIENT).toBe(after)
    expect(revisionOf(await read(varnish() + page))).toBe(after)

    // The Worker's cache: at the latest when its look-up is asked anew; and what was replaced does not come back.
    await expect.poll(async () => revisionOf(await read(site() + page)), PATIENT).toBe(after)
    for (let index = 0; index < 5; index += 1) expect(revisionOf(await read(site() + page))).toBe(after)
    for (const [url, copy] of kept) expect(await read(url)).toBe(copy)
  })
})
