import { verifyWebhook } from "../protocol/standard-webhooks.ts"
import type { Milliseconds } from "../protocol/time.ts"

/** `tidemark/workers-cache`: lets the `workers-cache` target purge the cache of the Worker that this runs in. */

/** Longer than any delivery: the target keeps to less. */
const MAX_BODY_BYTES = 256 * 1024

/** What `ctx.cache` is asked. @see https://developers.cloudflare.com/workers/cache/purge/#purge-modes */
export interface WorkersCachePurge {
  tags?: string[]
  pathPrefixes?: string[]
  purgeEverything?: boolean
}

/** What it answers. @see https://developers.cloudflare.com/workers/cache/purge/#return-value */
export interface WorkersCacheResult {
  readonly success: boolean
  readonly errors?: readonly { readonly code?: number; readonly message?: string }[]
}

/** As much as is needed of a Worker's context; `cache` is there where `cache.enabled` is set for the entrypoint. */
export interface WorkersCacheContext {
  readonly cache?:
    | {
        purge(options: WorkersCachePurge): Promise<WorkersCacheResult>
        /** Missing in runtimes of before 2026-09-29: what is soft is purged hard there. */
        invalidate?(options: WorkersCachePurge): Promise<WorkersCacheResult>
      }
    | undefined
}

export interface PurgeAgentOptions {
  /** The secret of the target, `whsec_…`; several while it is being changed. */
  readonly secret: string | readonly string[]
  /** Default: `Date.now`. */
  readonly now?: () => Milliseconds
}

/** Answers one delivery. Never rejects. */
export type PurgeAgent = (request: Request, ctx: WorkersCacheContext) => Promise<Response>

/**
 * The handler to which the target's `url` leads. A purge reaches the cache of the entrypoint that it is called from, so
 * it must be called from the one whose pages are cached, on every path of every version that is to be purged.
 *
 * Answers 200 once Cloudflare took the purge. 400: it does not like a value. 401: the signature is not by `secret`, or
 * not of now. 405, 413: no delivery of ours. 503: Cloudflare is in trouble or limits the rate, or there is no cache.
 *
 * @example
 *
 *     export default {
 *       fetch(request, env, ctx) {
 *         const { pathname } = new URL(request.url)
 *         if (pathname === "/tidemark/purge") return purgeAgent({ secret: env.PURGE_SECRET })(request, ctx)
 *         return site.fetch(request, env, ctx)
 *       },
 *     }
 */
export function purgeAgent({ secret, now = Date.now }: PurgeAgentOptions): PurgeAgent {
  const secrets = typeof secret === "string" ? [secret] : secret
  return async function answerDelivery(request, ctx) {
    if (request.method !== "POST") return say(405, [], { allow: "POST" })
    const body = await readBody(request).catch(() => "")
    if (body === undefined) return say(413)
    if (!(await verifyWebhook(secrets, request.headers, body, now()))) return say(401)
    const asked = parseDelivery(body)
    if (asked === undefined) return say(400)
    const { cache } = ctx
    if (!cache) return say(503)
    try {
      const isSoft = asked.mode === "invalidate" && cache.invalidate !== undefined
      // As methods: they are the platform's, and know their object.
      const result = await (isSoft ? cache.invalidate?.(asked.purge) : cache.purge(asked.purge))
      if (result?.success === true) return say(200)
      const errors = result?.errors ?? []
      return say(errors.length === 0 || errors.some(isPassing) ? 503 : 400, errors)
    } catch {
      return say(503)
    }
  }
}

/** Only codes go out: a message may repeat what nobody outside should read. */
const say = (
  status: number,
  errors: NonNullable<WorkersCacheResult["errors"]> = [],
  headers: Readonly<Record<string, string>> = {},
): Response =>
  Response.json(
    { success: status === 200, errors: errors.map(({ code }) => ({ code })) },
    { status, headers: { "cache-control": "no-store", ...headers } },
  )

/**
 * Which error stands for a limit is not published, only that one does. Taken for a refusal it would be cut into ever
 * more calls.
 */
const isPassing = ({ message = "" }: { readonly message?: string }): boolean =>
  /\brate\b|\blimit (?:reached|exceeded)\b|too many requests|throttl|try again|wait|internal|unavailable|timed? ?out/i.test(
    message,
  )

interface Delivery {
  readonly mode: "invalidate" | "purge"
  readonly purge: WorkersCachePurge
}

/** A delivery of the target; undefined for what it never sends. */
function parseDelivery(body: string): Delivery | undefined {
  let data: Readonly<Record<string, unknown>>
  try {
    ;({ data } = JSON.parse(body))
    const { mode, everything } = data
    if (mode !== "invalidate" && mode !== "purge") return undefined
    // There is no purge by either, and less than what was asked is none at all.
    if (listOf(data, "hosts").length + listOf(data, "namespaces").length > 0) return undefined
    const tags = listOf(data, "tags")
    const paths = [...listOf(data, "urls").map(pathOf), ...listOf(data, "prefixes").map(prefixOf)]
    // It stands for all that is beside it, and must stand alone.
    if (everything === true || paths.includes("/")) return { mode, purge: { purgeEverything: true } }
    if (tags.length + paths.length === 0) return undefined
    return {
      mode,
      purge: {
        ...(tags.length > 0 ? { tags: [...new Set(tags)] } : {}),
        ...(paths.length > 0 ? { pathPrefixes: [...new Set(paths)] } : {}),
      },
    }
  } catch {
    return undefined
  }
}

/** @throws {TypeError} */
function listOf(data: Readonly<Record<string, unknown>>, name: string): readonly string[] {
  const list = data[name]
  if (!Array.isArray(list) || !list.every((each) => typeof each === "string"))
    throw new TypeError(`${name} is no list of texts`)
  return list
}

/** By its path alone, as the cache knows neither hosts nor single pages; a prefix has no query. */
const pathOf = (url: string): string => new URL(url).pathname

/** Without its last slash, to reach the page at `/blog` by `/blog/` too. */
const prefixOf = (url: string): string => pathOf(url).replace(/(?<=.)\/$/, "")

/** The body's text; undefined when it is longer than any of ours, which is then left unread. */
async function readBody(request: Request): Promise<string | undefined> {
  const reader = (request.body as ReadableStream<Uint8Array> | null)?.getReader()
  if (!reader) return ""
  const decoder = new TextDecoder()
  let text = ""
  for (let size = 0; ;) {
    const { done, value } = await reader.read()
    if (done) return text + decoder.decode()
    size += value.length
    if (size > MAX_BODY_BYTES) {
      await reader.cancel()
      return undefined
    }
    text += decoder.decode(value, { stream: true })
  }
}
