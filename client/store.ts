import type { Epoch } from "../protocol/epoch.ts"
import { type Lookup, type LookupRequest, parseLookupJson } from "../protocol/lookup.ts"
import type { Namespace } from "../protocol/namespace.ts"
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
 * one that is not listed counts as the namespace's floor.
 *
 * With `after`, the answer's `changed` tells what changed since that epoch, where the store can say.
 */
export interface EpochStore {
  /**
   * Its answers may be much older than the asking: then `asOf` tells how old, by a clock that goes with ours. Of any
   * other store an answer is as of when it was asked, whatever its clock says. Default false.
   */
  readonly isMirror?: boolean
  /**
   * One round trip. Settles within a bounded time, which is best 2 s or less: after 2.5 s the reader counts the store
   * as away. Never retries: the reader does.
   *
   * @throws {StoreRefusal} when the request itself was refused, as for a namespace that is not declared
   * @throws whatever it likes when it cannot answer
   */
  lookup(request: LookupRequest, after?: Epoch): Promise<Lookup>
  /**
   * Records an invalidation. Missing where the store can only be read.
   *
   * @throws {StoreRefusal} when it was refused: nothing was recorded
   * @throws whatever it likes when there was no answer: it may have been recorded, or not
   */
  publish?(invalidation: Publication & { readonly mode: "invalidate" | "purge" }): Promise<Published>
}

/**
 * What is invalidated, in the words of `POST /v1/invalidations`: tags, urls, prefixes and hosts of a namespace; with
 * none of these the whole namespace; or, standing alone, everything.
 */
export type Publication = (
  | {
      readonly namespace: Namespace
      readonly tags?: readonly string[]
      readonly urls?: readonly string[]
      readonly prefixes?: readonly string[]
      readonly hosts?: readonly string[]
    }
  | { readonly everything: true }
) & {
  /** For people, in the log. At most 200 characters. */
  readonly reason?: string
}

export interface Published {
  /** By which its record is found: `GET /v1/invalidations/{id}`. */
  readonly id: string
  readonly epoch: Epoch
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
  /** A token with the scope `epochs:` of every namespace that is read, and `publish:` of those that are published to. */
  readonly token: string
  /** A `fetch`, or a service binding to the Worker, which needs no way over the network. Default: the global `fetch`. */
  readonly fetch?: Fetch | { readonly fetch: Fetch }
  /** After this many milliseconds the store counts as away, the body included. Default 2,000; 0 is refused. */
  readonly timeout?: Milliseconds
}

/** A publish is tried so often, under one idempotency key, with a pause in between. */
const PUBLISH_TRIES = 3
const PUBLISH_PAUSE: Milliseconds = 200

/** Statuses that are about the request and not about the Worker: an undeclared namespace, a missing scope, a limit. */
const REFUSALS: ReadonlySet<number> = new Set([400, 403, 404, 413, 422, 501])

/**
 * Looks epochs up at a Tidemark Worker: `GET {url}/v1/epochs`, or `POST` where the query would be long; and publishes
 * to it.
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
  const base = `${url.replace(/\/+$/, "")}/v1/`
  const send = fetchOf(given)
  const ask = (path: string, headers: Readonly<Record<string, string>> = {}, body?: string) =>
    send(base + path, {
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
  return {
    async lookup(request, after) {
      const query = queryOf(request, after)
      const response = await (query === undefined
        ? ask("epochs", {}, bodyOf(request, after))
        : ask(`epochs?${query}`))
      if (response.status !== 200) throw await failureOf("look-up", response)
      const lookup = parseLookupJson(await response.json())
      if (!lookup) throw new Error("the look-up was answered with something else")
      return lookup
    },
    async publish(invalidation) {
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

const bodyOf = (request: LookupRequest, after: Epoch | undefined): string =>
  JSON.stringify({ namespaces: Object.fromEntries(request), after })
