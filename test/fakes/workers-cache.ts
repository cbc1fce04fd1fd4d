import { purgeAgent, type WorkersCachePurge, type WorkersCacheResult } from "../../client/workers-cache.ts"
import {
  type Fake,
  FakeBase,
  FakeCache,
  type FakeOptions,
  type Received,
  Refusal,
  TokenBucket,
} from "./fake.ts"

export interface FakeWorkersCacheOptions extends FakeOptions {
  /** Where the Worker takes purges. */
  readonly url: string
  readonly secret: string
}

const failed = (code: number, message: string): WorkersCacheResult => ({
  success: false,
  errors: [{ code, message }],
})

/**
 * A Worker whose cache is enabled, with our agent in it. The agent is the real one; what stands in is Cloudflare's
 * `ctx.cache`: https://developers.cloudflare.com/workers/cache/purge/. Its limits are those of the free plan, whatever
 * the account has: https://developers.cloudflare.com/workers/cache/limitations/#purge-rate-limits
 */
export class FakeWorkersCache extends FakeBase implements Fake {
  readonly cache = new FakeCache({ separator: ",", foldsCase: true })
  readonly #options: FakeWorkersCacheOptions
  readonly #calls: TokenBucket

  constructor(options: FakeWorkersCacheOptions) {
    super()
    this.#options = options
    this.#calls = new TokenBucket(5 / 60, 25, options)
  }

  /** What the platform hands to a Worker's handler. */
  get context() {
    // oxlint-disable-next-line unicorn/no-this-assignment, typescript/no-this-alias -- `this` is the cache's own in there
    const fake = this
    return {
      cache: {
        async purge(options: WorkersCachePurge) {
          if (this?.purge === undefined) throw new TypeError("Illegal invocation")
          return fake.ask("hard", options)
        },
        async invalidate(options: WorkersCachePurge) {
          if (this?.invalidate === undefined) throw new TypeError("Illegal invocation")
          return fake.ask("soft", options)
        },
      },
    }
  }

  handle({ method, url, headers, body }: Received): Promise<Response> {
    return this.answer(async () => {
      if (url !== this.#options.url) throw new Refusal(url, new Response("the site", { status: 404 }))
      const { secret, now } = this.#options
      const response = await purgeAgent({ secret, now })(
        new Request(url, { method, headers, ...(body === "" ? {} : { body }) }),
        this.context,
      )
      // 401 is what some tests are about; the others say that something was sent that never should be.
      if ([405, 413].includes(response.status)) throw new Refusal(`answered ${response.status}`, response)
      return response
    })
  }

  async ask(how: "soft" | "hard", options: WorkersCachePurge): Promise<WorkersCacheResult> {
    const { tags = [], pathPrefixes = [], purgeEverything, ...others } = options
    const refuse = (complaint: string): WorkersCacheResult => {
      this.complaints.push(complaint)
      return failed(1012, `Invalid request: ${complaint}`)
    }
    if (Object.keys(others).length > 0) return refuse(`members ${Object.keys(others).join()}`)
    const values = [...tags, ...pathPrefixes]
    if ("purgeEverything" in options) {
      if (purgeEverything !== true || Object.keys(options).length > 1)
        return refuse("everything is not alone")
    } else if (values.length === 0) return refuse("nothing")
    if (values.length > 100) return refuse(`${values.length} values`)
    if (new Set(values).size !== values.length) return refuse("a value twice")
    // As the zone's purge has it: one bad value, and not a word on which.
    if (values.join().includes("poison")) return failed(1016, "One or more purge errors")
    if (!tags.every((tag) => /^[\x21-\x2b\x2d-\x7e]{1,1024}$/.test(tag))) return refuse("a tag")
    if (!pathPrefixes.every((path) => /^\/[^?#\s]*$/.test(path))) return refuse("a path")
    if (!this.#calls.take()) {
      this.limited += 1
      return failed(10_429, "Rate limit reached. Please wait if possible")
    }
    this.taken.push(Math.max(1, values.length))
    this.cache.purge(
      how,
      ({ url: { pathname }, has }) =>
        purgeEverything === true || tags.some(has) || pathPrefixes.some((path) => pathname.startsWith(path)),
    )
    return { success: true, errors: [] }
  }
}
