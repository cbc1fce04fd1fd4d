import type { Epoch } from "../protocol/epoch.ts"
import { type Lookup, type LookupRequest, parseLookupJson } from "../protocol/lookup.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import { type EpochStore, type Published, StoreRefusal } from "./epoch-store.ts"
import { inParts } from "./in-parts.ts"

/** Longer queries are sent as a body: some proxies refuse request lines of 8 KiB, and logs keep them. */
const MAX_QUERY = 2_000

/** What `fetch` and a service binding have in common. */
type Fetch = (url: string, init: RequestInit) => Promise<Response>

export interface WorkerStoreOptions {
  /** Where the Worker answers, such as `https://tidemark.example.com`; `/v1/epochs` is put behind it. */
  readonly url: string | undefined
  /** A token with the scope `epochs:` of every namespace that is read, and `publish:` of those that are published to. */
  readonly token: string | undefined
  /** A `fetch`, or a service binding to the Worker, which needs no way over the network. Default: the global `fetch`. */
  readonly fetch?: Fetch | { readonly fetch: Fetch }
  /** After this many milliseconds the store counts as away, the body included. Default 2,000; 0 is refused. */
  readonly timeout?: Milliseconds
}

/** What the Worker takes in one request. */
const LIMITS = { namespaces: 16, selectors: 256 }

/** A publish is tried so often, under one idempotency key, with a pause in between. */
const PUBLISH_TRIES = 3
const PUBLISH_PAUSE: Milliseconds = 200

/** Statuses that are about the request and not about the Worker: an undeclared namespace, a missing scope, a limit. */
const REFUSALS: ReadonlySet<number> = new Set([400, 403, 404, 413, 422, 501])

/**
 * Looks epochs up at a Tidemark Worker: `GET {url}/v1/epochs`, or `POST` where the query would be long; and publishes
 * to it.
 *
 * Where the url or the token is missing, as in a build without secrets, or the url is none, it is made all the same:
 * what is asked of it then rejects, naming what is missing.
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
  const send = fetchOf(given)
  const ask = async (path: string, headers: Readonly<Record<string, string>> = {}, body?: string) =>
    send(`${addressOf("workerStore", url, token)}/v1/${path}`, {
      ...(body === undefined ? {} : { method: "POST", body }),
      headers: {
        authorization: `Bearer ${token}`,
        accept: "application/json",
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      // Followed, a redirect would carry the token to wherever it points.
      redirect: "manual",
      signal: AbortSignal.timeout(timeout),
    })
  async function lookup(request: LookupRequest, after: Epoch | undefined): Promise<Lookup> {
    const query = queryOf(request, after)
    const response = await (query.length <= MAX_QUERY
      ? ask(`epochs?${query}`)
      : ask("epochs", {}, JSON.stringify({ namespaces: Object.fromEntries(request), after })))
    if (response.status !== 200) throw await failureOf("look-up", response)
    const answer = parseLookupJson(await response.json())
    if (!answer) throw new Error("the look-up was answered with something else")
    return answer
  }
  return {
    lookup: inParts(lookup, LIMITS),
    async publish(invalidation) {
      addressOf("workerStore", url, token)
      // One key for all tries: whichever of them arrived, it was recorded once.
      const headers = { "idempotency-key": crypto.randomUUID() }
      const body = JSON.stringify(invalidation)
      for (let left = PUBLISH_TRIES - 1; ; left -= 1) {
        try {
          const response = await ask("invalidations", headers, body)
          if (response.ok) return (await response.json()) as Published
          const failure = await failureOf("publish", response)
          if (left === 0 || failure instanceof StoreRefusal) throw failure
        } catch (error) {
          if (left === 0 || error instanceof StoreRefusal) throw error
        }
        await new Promise((resolve) => setTimeout(resolve, PUBLISH_PAUSE))
      }
    },
  }
}

/**
 * Where a store is asked, without the slash at its end.
 *
 * @throws {TypeError} when the url or the token is missing, or the url is none
 */
export function addressOf(store: string, url: string | undefined, token: string | undefined): string {
  if (!url) throw new TypeError(`${store}: url is missing`)
  if (!token) throw new TypeError(`${store}: token is missing`)
  if (!/^https?:\/\//i.test(url) || !URL.canParse(url))
    throw new TypeError(
      `${store}: url must begin with https:// or http://, got ${JSON.stringify(url.slice(0, 100))}`,
    )
  return url.replace(/\/+$/, "")
}

function fetchOf(given: WorkerStoreOptions["fetch"]): Fetch {
  if (given === undefined) return (url, init) => fetch(url, init)
  // A service binding's method loses its receiver when it is taken off it.
  return typeof given === "function" ? given : (url, init) => given.fetch(url, init)
}

async function failureOf(what: string, response: Response): Promise<Error> {
  // Read in any case: an unread body would keep the connection busy.
  const said = (await response.json().catch(() => undefined)) as { readonly detail?: unknown } | undefined
  const detail = typeof said?.detail === "string" ? `: ${said.detail}` : ""
  const message = `the ${what} was answered with status ${response.status}${detail}`
  return REFUSALS.has(response.status) ? new StoreRefusal(response.status, message) : new Error(message)
}

function queryOf(request: LookupRequest, after: Epoch | undefined): string {
  const query = new URLSearchParams()
  for (const [namespace, { tags, urls }] of request) {
    query.append("ns", namespace)
    for (const tag of tags) query.append("tag", `${namespace}:${tag}`)
    for (const url of urls) query.append("url", `${namespace}:${url}`)
  }
  if (after !== undefined) query.append("after", String(after))
  return query.toString()
}
