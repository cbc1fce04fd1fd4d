import { type Context, Hono } from "hono"
import { createTidemark, type Tidemark, workerStore } from "tidemark/client"
import { epochCache } from "tidemark/hono"
import { tagHeader, varnish } from "tidemark/tags"

/**
 * The demo's site: a small CMS, and pages of it behind two kinds of cache. Asked directly, they come from the Cache API
 * of this Worker, judged by epochs; asked through Varnish, they come from the CMS, labelled for its purges.
 */
interface Bindings {
  /** Where epochs are looked up, and by which token. */
  readonly TIDEMARK_URL: string
  readonly TIDEMARK_TOKEN: string
  /** How long a look-up is used, in milliseconds. */
  readonly DEMO_TTL_MS?: string
}

type Env = { Bindings: Bindings }

/** What the CMS holds, by type and slug; more is made up when it is asked for. Gone when the site restarts. */
const revisions = new Map<string, number>()

/** One reader of epochs for all requests of this isolate. */
let reader: Tidemark | undefined
const tidemark = ({ env }: Context<Env>): Tidemark =>
  (reader ??= createTidemark({
    store: workerStore({ url: env.TIDEMARK_URL, token: env.TIDEMARK_TOKEN }),
    ttl: Number(env.DEMO_TTL_MS ?? 1_000),
    maxStale: Math.max(60_000, 2 * Number(env.DEMO_TTL_MS ?? 1_000)),
  }))

const escape = (text: string): string => text.replaceAll(/[<>&"]/g, (char) => `&#${char.charCodeAt(0)};`)

function page(type: string, slug: string): string {
  const revision = revisions.get(`${type}/${slug}`) ?? 1
  const title = escape(`${type} ${slug}`)
  return `<!doctype html><meta charset="utf-8"><title>${title}</title>
<main data-revision="${revision}"><h1>${title}</h1><p>Revision ${revision}, read from the CMS at ${new Date().toISOString()}.</p></main>
`
}

const app = new Hono<Env>()

app.get("/", (c) =>
  c.html(`<!doctype html><meta charset="utf-8"><title>Tidemark demo</title><h1>Tidemark demo</h1>
<ul><li><a href="/blog/hello">/blog/hello</a> (namespace blog, tags post-hello and type-post)
<li><a href="/catalog/products/lamp">/catalog/products/lamp</a> (namespace catalog/products, tag product-lamp)</ul>`),
)

/** The editor's side: `PUT /cms/posts/hello` with a revision's number. No cache is told; that is the CMS's webhook's job. */
app.put("/cms/:type/:slug", async (c) => {
  const revision = Number(await c.req.text())
  if (!Number.isInteger(revision)) return c.text("send the revision's number\n", 422)
  revisions.set(`${c.req.param("type")}/${c.req.param("slug")}`, revision)
  return c.text(`revision ${revision}\n`)
})

interface Section {
  readonly path: string
  readonly namespace: string
  readonly type: string
  readonly tags: (slug: string) => string[]
}

const SECTIONS: readonly Section[] = [
  { path: "/blog/:slug", namespace: "blog", type: "posts", tags: (slug) => [`post-${slug}`, "type-post"] },
  {
    path: "/catalog/products/:slug",
    namespace: "catalog/products",
    type: "products",
    tags: (slug) => [`product-${slug}`, "type-product"],
  },
]

/** Varnish tells who it is: what it fetches must come from the CMS, not from another cache that may be behind. */
const isFromVarnish = (c: Context<Env>): boolean => c.req.header("x-varnish") !== undefined

for (const { path, namespace, type, tags } of SECTIONS) {
  const slugOf = (c: Context<Env>): string => c.req.param("slug") ?? ""
  const cached = epochCache<Env>({
    tidemark,
    app,
    namespace,
    tags: (c) => tags(slugOf(c)),
    // One name for the site, whichever of loopback's it is asked by.
    url: (c) => c.req.url.replace("//localhost", "//127.0.0.1"),
  })
  app.use(path, async function eitherCache(c, next) {
    if (!isFromVarnish(c)) return cached(c, next)
    await next()
    for (const [name, value] of new Headers(tagHeader(namespace, tags(slugOf(c)), varnish).headers)) {
      c.header(name, value)
    }
    c.header("cache-control", "public, s-maxage=3600")
    return undefined
  })
  app.get(path, (c) => c.html(page(type, slugOf(c))))
}

export default app
