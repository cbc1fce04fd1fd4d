import { type Fake, FakeBase, FakeCache, type Received, Refusal } from "./fake.ts"

export interface FakeNginxOptions {
  /** Where the purge servers listen, each without a slash at its end. */
  readonly nodes: readonly string[]
  /**
   * What purges: the module as Debian has it (2.3, by single keys), the one that is maintained (2.4 and newer), or
   * NGINX Plus.
   */
  readonly module: "2.3" | "3.0" | "plus"
}

/**
 * The purge server of `infra/nginx` in front of several nodes, for
 * https://github.com/nginx-modules/ngx_cache_purge or
 * https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_cache_purge. Visitors come to any of the nodes: a page
 * is gone when all of them have dropped it.
 */
export class FakeNginx extends FakeBase implements Fake {
  readonly cache = new FakeCache({})
  readonly #options: FakeNginxOptions
  readonly #dropped = new Map<string, Set<string>>()

  constructor(options: FakeNginxOptions) {
    super()
    this.#options = options
  }

  handle(request: Received): Promise<Response> {
    return this.answer(() => this.#purge(request))
  }

  #purge({ method, url, headers, body }: Received): Response {
    const { nodes, module } = this.#options
    const node = nodes.find((each) => url.startsWith(`${each}/`))
    if (node === undefined) throw new Refusal(`nobody listens at ${url}`, new Response(null, { status: 599 }))
    if (method !== "PURGE") throw new Refusal(method, said(405))
    if (body !== "" || [...headers].length > 0)
      throw new Refusal("a purge has no body and no headers", said(400))
    const key = url.slice(node.length + 1)
    if (key === "" || /[#\s]/.test(key)) throw new Refusal(`a key that is none: ${key}`, said(400))
    const isWildcard = key.endsWith("*")
    const form = isWildcard
      ? /^(?:[a-z0-9.:[\]-]+\/(?:https?\/[^?#]*)?)?\*$/
      : /^[a-z0-9.:[\]-]+\/https?\/.*$/
    if (!form.test(key)) throw new Refusal(`a key that no page has: ${key}`, said(400))
    if (isWildcard && module === "2.3")
      throw new Refusal(`a wildcard for a module that has none: ${key}`, said(404))
    // It has nothing against any page; a proxy on the way may be of another mind.
    if (key.includes("poison")) return said(400)
    if (isWildcard && key.length > 511) throw new Refusal("a wildcard that is passed over", said(412))
    this.taken.push(1)
    const asked = this.#dropped.get(key) ?? new Set()
    this.#dropped.set(key, asked.add(node))
    if (asked.size < nodes.length) return said(done(module))
    this.#dropped.delete(key)
    const count = this.cache.purge("hard", ({ url: { hostname, protocol, pathname, search } }) => {
      const page = `${hostname}/${protocol.slice(0, -1)}${pathname}${search}`
      return isWildcard ? page.startsWith(key.slice(0, -1)) : page === key
    })
    return said(count > 0 ? done(module) : MISSING[module])
  }
}

const MISSING = { "2.3": 404, "3.0": 412, plus: 404 } as const
const done = (module: FakeNginxOptions["module"]): number => (module === "plus" ? 204 : 200)

/** As the purge server says it, by which it is known. */
const said = (status: number): Response =>
  new Response(status === 204 ? null : "<html>", { status, headers: { "x-tidemark-purge": "nginx" } })
