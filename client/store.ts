import { carriesSecret } from "../protocol/address.ts"
import { type Epoch, parseEpoch } from "../protocol/epoch.ts"
import { type Lookup, type LookupRequest, parseLookupJson } from "../protocol/lookup.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import { AnswerClock } from "./answer-clock.ts"
import { type EpochStore, type Published, StoreRefusal } from "./epoch-store.ts"
import { inParts } from "./in-parts.ts"
import { TidemarkError } from "./trouble.ts"
import { withoutSecrets, wordsOf } from "./words.ts"

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
  /** Milliseconds from any moment, that only go forward. Default `performance.now`. */
  readonly now?: () => Milliseconds
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
 * An answer that a cache in between had is not believed: it rejects, and says so. From then on it asks by `POST`, which
 * caches let through.
 *
 * @throws {RangeError} when `timeout` is not a positive number
 */
export function workerStore({
  url,
  token,
  fetch: given,
  timeout = 2 * SECOND,
  now = () => performance.now(),
}: WorkerStoreOptions): EpochStore {
  if (!(timeout > 0)) throw new RangeError(`timeout must be above 0 ms, got ${timeout}`)
  const send = fetchOf(given)
  const clock = new AnswerClock()
  let isCached = false

  const reach = async <T>(call: (address: string) => Promise<T>): Promise<T> => {
    const address = addressOf("workerStore", url, token)
    return reached(new URL(address).origin, timeout, () => call(address))
  }
  const ask = (path: string, headers: Readonly<Record<string, string>>, body?: string) =>
    reach((address) =>
      send(`${address}/v1/${path}`, {
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
      }),
    )

  async function lookup(request: LookupRequest, after: Epoch | undefined): Promise<Lookup> {
    const query = queryOf(request, after)
    const sentAt = now()
    const response = await (query.length <= MAX_QUERY && !isCached
      ? ask(`epochs?${query}`, NO_STORE)
      : ask("epochs", NO_STORE, JSON.stringify({ namespaces: Object.fromEntries(request), after })))
    if (response.status !== 200) throw await failureOf("look-up", response)
    const answer = parseLookupJson(jsonOf(await reach(() => response.text())))
    if (!answer)
      throw new TidemarkError("unreachable", `the look-up was answered with something else (${WHERE})`)
    const age = Math.max(shownAge(response), clock.ageOf(answer.asOf, sentAt, now()))
    if (age === 0) return answer
    isCached = true
    throw new TidemarkError(
      "not-believed",
      `the look-up was answered by a cache in between, ${Math.ceil(age / SECOND)} s late: /v1/epochs must not be cached`,
    )
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
          const failure = response.ok ? undefined : await failureOf("publish", response)
          if (!failure) return publishedOf(jsonOf(await response.text()))
          if (left === 0 || isFinal(failure)) throw failure
        } catch (error) {
          if (left === 0 || isFinal(error)) throw error
        }
        await new Promise((resolve) => setTimeout(resolve, PUBLISH_PAUSE))
      }
    },
  }
}

/** What to look at where something else answers. */
const WHERE = "is url that of a Tidemark Worker?"

/** For caches in between that are set up to keep what they should not. */
const NO_STORE = { "cache-control": "no-store" }

/** What is answered likewise however often it is tried. */
const isFinal = (error: unknown): boolean =>
  error instanceof StoreRefusal || (error instanceof TidemarkError && error.code === "unauthorized")

/**
 * Where a store is asked, without the slash at its end.
 *
 * @throws {TidemarkError} `misconfigured`, when the url or the token is missing, or none. Neither is shown: one may have
 *   been given for the other
 */
export function addressOf(store: string, url: string | undefined, token: string | undefined): string {
  const wrong = (what: string) => new TidemarkError("misconfigured", `${store}: ${what}`)
  if (!url) throw wrong("url is missing")
  if (!token) throw wrong("token is missing")
  // A line break at its end, as files have one, is not sent.
  if (!/^[\x21-\x7e]+$/.test(token.trim())) throw wrong("token has characters that no token has")
  if (!/^https?:\/\//i.test(url) || !URL.canParse(url)) throw wrong("url must begin with https:// or http://")
  if (carriesSecret(new URL(url)))
    throw wrong("url must have no user, no query, no fragment and no token in it")
  return url.replace(/\/+$/, "")
}

/**
 * What a call gives that asks a store at an address.
 *
 * @throws {TidemarkError} `unreachable`, where it gives nothing, in words without secrets
 */
export async function reached<T>(address: string, timeout: Milliseconds, call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    if (error instanceof TidemarkError) throw error
    const isLate = (error as Error | undefined)?.name === "TimeoutError"
    throw new TidemarkError(
      "unreachable",
      isLate
        ? `the store did not answer within ${timeout} ms`
        : `${address} cannot be reached: ${wordsOf(error)}`,
    )
  }
}

/** @throws {TidemarkError} where it is not what a Worker says of what it has recorded */
function publishedOf(answer: unknown): Published {
  const { id, epoch } = Object(answer) as Partial<Published>
  if (typeof id === "string" && epoch !== undefined && parseEpoch(String(epoch)) === epoch)
    return answer as Published
  throw new TidemarkError("unreachable", `the publish was answered with something else (${WHERE})`)
}

/** Undefined where it is none. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** How old the caches in between say that an answer is; 0 where none does. */
function shownAge({ headers }: Response): Milliseconds {
  const age = Number(headers.get("age") ?? 0)
  if (age > 0) return age * SECOND
  return /^(HIT|STALE|UPDATING)$/i.test(headers.get("cf-cache-status") ?? "") ? 1 : 0
}

function fetchOf(given: WorkerStoreOptions["fetch"]): Fetch {
  if (given === undefined) return (url, init) => fetch(url, init)
  // A service binding's method loses its receiver when it is taken off it.
  return typeof given === "function" ? given : (url, init) => given.fetch(url, init)
}

async function failureOf(what: string, response: Response): Promise<Error> {
  const { status } = response
  // Read in any case: an unread body would keep the connection busy.
  const said = (await response.json().catch(() => undefined)) as
    | { readonly code?: unknown; readonly detail?: unknown }
    | undefined
  const detail = typeof said?.detail === "string" ? `: ${withoutSecrets(said.detail)}` : ""
  const message = `the ${what} was answered with status ${status}${detail}`
  if (status === 401)
    return new TidemarkError("unauthorized", `${message} (is its hash in the Worker's configuration?)`)
  // Whatever stands in front of a Worker, or in its place, knows no codes of ours; nor does a Worker at another path.
  const isOurs = typeof said?.code === "string" && said.code !== "not_found"
  if (isOurs && REFUSALS.has(status)) return new StoreRefusal(status, message)
  const isThere = isOurs || status >= 500 || status === 429
  return new TidemarkError("unreachable", isThere ? message : `${message} (${WHERE})`)
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
