import { type Fake, FakeBase, FakeCache, type FakeOptions, type Received, Refusal } from "./fake.ts"

/**
 * A Next.js 16 app with a route that takes Tidemark's signed webhook, by docs/targets/http.md, and what Next then does:
 * https://nextjs.org/docs/app/api-reference/functions/revalidateTag and
 * https://nextjs.org/docs/app/api-reference/functions/revalidatePath
 *
 * Its routes lie under `app/` as its addresses do, so that prefixes mean what they say.
 */
export interface FakeNextjsOptions extends FakeOptions {
  readonly url: string
  /** The bytes that the secret stands for. */
  readonly key: Uint8Array<ArrayBuffer>
}

const LISTS = ["namespaces", "tags", "urls", "prefixes", "hosts"] as const
const FIVE_MINUTES = 300

const no = (status: number, words: string): Response => new Response(words, { status })

export class FakeNextjs extends FakeBase implements Fake {
  /** Labels are what pages say to `cacheTag`: 128 of them. */
  readonly cache = new FakeCache({ separator: ",", maxLabels: 128 })
  readonly #options: FakeNextjsOptions

  constructor(options: FakeNextjsOptions) {
    super()
    this.#options = options
  }

  handle(request: Received): Promise<Response> {
    return this.answer(() => this.#revalidate(request))
  }

  async #revalidate(request: Received): Promise<Response> {
    if (request.url !== this.#options.url) throw new Refusal(request.url, no(404, "not found"))
    if (request.method !== "POST") throw new Refusal(request.method, no(405, ""))
    if (request.headers.get("content-type") !== "application/json")
      throw new Refusal("a content-type", no(400, "this is no invalidation"))
    if (!(await this.#isSigned(request))) return no(401, "the signature or its time is not right")
    const { type, data } = JSON.parse(request.body) as { type: unknown; data: Record<string, unknown> }
    if (type !== "tidemark.invalidation") throw new Refusal(String(type), no(400, "no invalidation"))
    const [namespaces = [], tags = [], urls = [], prefixes = [], hosts = []] = LISTS.map((list) => data[list])
    const all = [namespaces, tags, urls, prefixes, hosts].flat()
    if (!LISTS.every((list) => Array.isArray(data[list])) || !all.every((each) => typeof each === "string"))
      throw new Refusal("a list", no(400, "no invalidation"))
    if (all.length > 100) throw new Refusal(`${all.length} values`, no(413, "too many"))
    if ([namespaces, hosts].flat().length > 0)
      throw new Refusal("namespaces or hosts", no(422, "Next.js knows no namespaces and no hosts"))
    const isHard = data["mode"] === "purge"
    if (!isHard && ([urls, prefixes].flat().length > 0 || data["everything"] === true))
      throw new Refusal("a path softly", no(422, "Next.js has nothing soft for paths"))
    if (all.some((each) => each.includes("poison"))) return no(422, "not to our liking")
    const tagList = [tags].flat().map(String)
    if (tagList.some((tag) => tag.length > 256)) throw new Refusal("a long tag", no(422, "a long tag"))
    const paths = [urls].flat().map((url) => new URL(String(url)).pathname)
    const layouts = [prefixes].flat().map((url) => new URL(String(url)).pathname.replace(/\/$/, ""))
    this.cache.purge(isHard ? "hard" : "soft", ({ has }) => tagList.some(has))
    this.cache.purge("hard", ({ url: { pathname } }) => {
      const isUnder = layouts.some((layout) => pathname === layout || pathname.startsWith(`${layout}/`))
      return isUnder || paths.includes(pathname) || data["everything"] === true
    })
    this.taken.push(Math.max(1, all.length))
    return new Response("revalidated\n")
  }

  async #isSigned({ headers, body }: Received): Promise<boolean> {
    const time = headers.get("webhook-timestamp") ?? ""
    if (!(Math.abs(this.#options.now() / 1_000 - Number(time)) <= FIVE_MINUTES)) return false
    const hmac = { name: "HMAC", hash: "SHA-256" }
    const key = await crypto.subtle.importKey("raw", this.#options.key, hmac, false, ["sign"])
    const signed = new TextEncoder().encode(`${headers.get("webhook-id")}.${time}.${body}`)
    const bytes = new Uint8Array(await crypto.subtle.sign("HMAC", key, signed))
    return headers.get("webhook-signature") === `v1,${btoa(String.fromCharCode(...bytes))}`
  }
}
