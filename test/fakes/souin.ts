import { type Fake, FakeBase, FakeCache, type Received, Refusal, type Served } from "./fake.ts"

export interface FakeSouinOptions {
  /** Where the nodes' API listens, each without a slash at its end. */
  readonly nodes: readonly string[]
  /** What a proxy in front of it asks for. Default: nobody asks. */
  readonly token?: string
}

const API = "/souin-api/souin"

/** What Souin has forgotten: the keys that this finds no longer lead to these pages. */
interface Forgotten {
  readonly expression: RegExp
  readonly pages: Set<string>
}

/** A page that is fetched anew is found by its keys again. */
class SouinCache extends FakeCache {
  readonly forgotten: Forgotten[] = []

  override visit(address: string): Served {
    const served = super.visit(address)
    if (served.how === "miss") for (const { pages } of this.forgotten) pages.delete(new URL(address).href)
    return served
  }
}

/**
 * Souin's API, https://github.com/darkweak/souin#souin-api, as its `pkg/api/souin.go` of 2026-06 has it, on several
 * nodes: a page is gone when all of them have dropped it. It says 204 to whatever it is asked. A purge by a key also
 * drops the index of every other key that the first finds when taken for a regular expression.
 */
export class FakeSouin extends FakeBase implements Fake {
  readonly cache = new SouinCache({ separator: ", ", maxBytes: 1_000_000 })
  readonly #options: FakeSouinOptions
  readonly #dropped = new Map<string, Set<string>>()

  constructor(options: FakeSouinOptions) {
    super()
    this.#options = options
  }

  handle(request: Received): Promise<Response> {
    return this.answer(() => this.#purge(request))
  }

  #purge({ method, url, headers, body }: Received): Response {
    const { nodes, token } = this.#options
    const node = nodes.find((each) => url.startsWith(`${each}${API}`))
    if (node === undefined) throw new Refusal(`no API at ${url}`, new Response("{}", { status: 404 }))
    if (method !== "PURGE") throw new Refusal(method, new Response(null, { status: 200 }))
    const given = headers.get("authorization") ?? undefined
    if (given !== (token === undefined ? undefined : `Bearer ${token}`))
      return new Response("no", { status: 401 })
    if (body !== "") throw new Refusal("a body", bad())
    // What `fetch` would change on its way is not what arrives.
    if (new URL(url).href !== url) throw new Refusal(`no address as it is written: ${url}`, bad())
    const path = url.slice(node.length + API.length)
    const names = [...headers.keys()].filter((name) => name !== "authorization").join()
    if (names !== (path === "" ? "surrogate-key" : "")) throw new Refusal(`the headers ${names}`, bad())
    const keys = path === "" ? (headers.get("surrogate-key") ?? "").split(", ") : []
    if (path === "" && keys.some((key) => !/^[\x21-\x2b\x2d-\x7e]+$/.test(key)))
      throw new Refusal(`the keys ${keys.join(", ")}`, bad())
    if (keys.join("").length > 8_000) throw new Refusal("a long header", new Response(null, { status: 431 }))
    // Nothing is not to its liking; a proxy on the way may be of another mind.
    if (`${url} ${keys.join()}`.includes("poison")) return bad()
    this.taken.push(Math.max(1, keys.length))
    const asked = this.#dropped.get(path + keys.join()) ?? new Set()
    this.#dropped.set(path + keys.join(), asked.add(node))
    if (asked.size === nodes.length) {
      this.#dropped.delete(path + keys.join())
      if (path === "") this.#byKeys(keys)
      else if (path === "/flush") this.cache.purge("hard", () => true)
      else this.#byExpression(path.slice(1))
    }
    return new Response(null, { status: 204 })
  }

  #byKeys(keys: readonly string[]): void {
    const { forgotten } = this.cache
    const leadsTo = (key: string, page: string) =>
      !forgotten.some(({ expression, pages }) => pages.has(page) && expression.test(`SURROGATE_${key}`))
    const left = new Set<string>()
    this.cache.purge("hard", ({ url: { href }, has }) => {
      const isPurged = keys.some((key) => has(key) && leadsTo(key, href))
      if (!isPurged) left.add(href)
      return isPurged
    })
    for (const key of keys)
      forgotten.push({ expression: new RegExp(`SURROGATE_${key}`), pages: new Set(left) })
  }

  /** As it came on the request line, undecoded; held against `GET-https-www.example.com-/path?query`, decoded. */
  #byExpression(text: string): void {
    const expression = new RegExp(text)
    this.cache.purge("hard", ({ url: { protocol, host, pathname, search } }) => {
      const key = `GET-${protocol.slice(0, -1)}-${host}-${decodeURIComponent(pathname)}${search}`
      return expression.test(key) || expression.test(`${key}{-VARY-}Accept-Language:nl`)
    })
  }
}

const bad = (): Response => new Response(null, { status: 400 })
