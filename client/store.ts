import type { Epoch } from "../protocol/epoch.ts"
import { type Lookup, type LookupRequest, parseLookupJson } from "../protocol/lookup.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"

/** Most namespaces, and most tags and urls together, that one look-up may ask. The reader cuts what it asks to fit. */
export const MAX_NAMESPACES = 16
export const MAX_SELECTORS = 256

/** Longer queries are sent as a body: some proxies refuse request lines of 8 KiB, and logs keep them. */
const MAX_QUERY = 2_000

/**
 * Where epochs are looked up. The reader above caches, batches and paces; a store only asks.
 *
 * Safe to call concurrently. Answers at least the namespaces that were asked, each with the asked tags that it knows;
 * one that is not listed counts as the namespace's floor. The answer's `asOf` is when the store was asked, or earlier
 * where something on the way had it already: never later.
 *
 * With `after`, the answer's `changed` tells what changed since that epoch, where the store can say.
 */
export interface EpochStore {
  /**
   * One round trip. Settles within a bounded time, which is best 2 s or less: after 2.5 s the reader counts the store
   * as away. Never retries: the reader does.
   *
   * @throws {StoreRefusal} when the request itself was refused, as for a namespace that is not declared
   * @throws whatever it likes when it cannot answer
   */
  lookup(request: LookupRequest, after?: Epoch): Promise<Lookup>
}

/**
 * The store is there, and says no to this very request: a namespace is not declared, or the token does not reach it.
 * Others that were asked in the same request are not held responsible.
 */
export class StoreRefusal extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.name = "StoreRefusal"
    this.status = status
  }
}

/** What `fetch` and a service binding have in common. */
type Fetch = (url: string, init: RequestInit) => Promise<Response>

export interface WorkerStoreOptions {
  /** Where the Worker answers, such as `https://tidemark.example.com`; `/v1/epochs` is put behind it. */
  readonly url: string
  /** A token with the scope `epochs:` of every namespace that is read. */
  readonly token: string
  /** A `fetch`, or a service binding to the Worker, which needs no way over the network. Default: the global `fetch`. */
  readonly fetch?: Fetch | { readonly fetch: Fetch }
  /** After this many milliseconds the store counts as away, the body included. Default 2,000; 0 is refused. */
  readonly timeout?: Milliseconds
}

/** Statuses that are about the request and not about the Worker: an undeclared namespace, a missing scope, a limit. */
const REFUSALS: ReadonlySet<number> = new Set([400, 403, 404, 413, 422])

/**
 * Looks epochs up at a Tidemark Worker: `GET {url}/v1/epochs`, or `POST` where the query would be long.
 *
 * @throws {RangeError} when `timeout` is not a positive number
 */
export function workerStore({
  url,
  token,
  fetch: given,
  timeout = 2 * SECOND,
}: WorkerStoreOptions): EpochStore {
  if (!(timeout > 0)) throw new RangeError(`timeout must be above 0 ms, got ${timeout}`)
  const endpoint = `${url.replace(/\/+$/, "")}/v1/epochs`
  const send = fetchOf(given)
  return {
    async lookup(request, after) {
      const query = queryOf(request, after)
      const headers = { authorization: `Bearer ${token}`, accept: "application/json" }
      // Followed, a redirect would carry the token to wherever it points.
      const init: RequestInit = { headers, redirect: "manual", signal: AbortSignal.timeout(timeout) }
      const response = await (query === undefined
        ? send(endpoint, {
            ...init,
            ...bodyOf(request, after),
            headers: { ...headers, "content-type": "application/json" },
          })
        : send(`${endpoint}?${query}`, init))
      if (response.status !== 200) throw await failureOf(response)
      const lookup = parseLookupJson(await response.json())
      if (!lookup) throw new Error("the look-up was answered with something else")
      return lookup
    },
  }
}

function fetchOf(given: WorkerStoreOptions["fetch"]): Fetch {
  if (given === undefined) return (url, init) => fetch(url, init)
  // A service binding's method loses its receiver when it is taken off it.
  return typeof given === "function" ? given : (url, init) => given.fetch(url, init)
}

async function failureOf(response: Response): Promise<Error> {
  // An unread body would keep the connection busy.
  await response.body?.cancel()
  const message = `the look-up was answered with status ${response.status}`
  return REFUSALS.has(response.status) ? new StoreRefusal(response.status, message) : new Error(message)
}

/** The query of a short request; undefined where it belongs into a body. */
function queryOf(request: LookupRequest, after: Epoch | undefined): string | undefined {
  const query = new URLSearchParams()
  let selectors = 0
  for (const [namespace, { tags, urls }] of request) {
    query.append("ns", namespace)
    for (const tag of tags) query.append("tag", `${namespace}:${tag}`)
    for (const url of urls) query.append("url", `${namespace}:${url}`)
    selectors += tags.length + urls.length
  }
  if (after !== undefined) query.append("after", String(after))
  const text = query.toString()
  return request.size <= MAX_NAMESPACES && selectors <= MAX_SELECTORS && text.length <= MAX_QUERY
    ? text
    : undefined
}

const bodyOf = (request: LookupRequest, after: Epoch | undefined) => ({
  method: "POST",
  body: JSON.stringify({
    namespaces: Object.fromEntries(request),
    ...(after === undefined ? {} : { after }),
  }),
})
