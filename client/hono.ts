import type { Context, Env, ExecutionContext, MiddlewareHandler } from "hono"
import type { WaitUntil } from "./epochs.ts"
import { createPages, type PagesOptions } from "./pages.ts"

/** `tidemark/hono`: a middleware that keeps pages under their stamps. */

export type { EpochCacheWarning, PageStore } from "./pages.ts"

export interface EpochCacheOptions<E extends Env = Env> extends PagesOptions<Context<E>> {
  /**
   * The app itself. With it a stale page is served while the app runs once more in the background; without it a
   * request for a stale page waits for the new one.
   */
  readonly app?: {
    fetch(request: Request, env?: any, executionCtx?: ExecutionContext): Response | Promise<Response>
  }
}

/** What describes a body belongs to the page, whatever was prepared for the visitor. */
const OF_THE_BODY =
  /^(?:content-(?:type|length|encoding|language|location|range|disposition|digest)|etag|last-modified|cache-status)$/

/**
 * Keeps pages in the Cache API under their stamps, and never serves one as fresh that was invalidated since.
 *
 * What middleware before this one prepared for a visitor (`c.header`, cookies) is not kept, and reaches every visitor
 * as it was prepared for them. So is what it sets after `next()`. What comes after this one makes the page.
 */
export function epochCache<E extends Env = any>({
  app,
  ...options
}: EpochCacheOptions<E>): MiddlewareHandler<E> {
  const serve = createPages(options)
  /** Requests of our own, which are to fill and not to be answered from the cache. */
  const ours = new WeakSet<Request>()

  return async function serveFromEpochCache(c, next) {
    const executionCtx = executionCtxOf(c)
    const visitor = c.req.raw
    const prepared = c.newResponse(null).headers
    let isWithout = false
    const response = await serve({
      context: c,
      request: visitor,
      prepared,
      waitUntil: waitUntilOf(executionCtx),
      isRevalidation: ours.has(visitor),
      async make(request, isToBeKept) {
        isWithout = isToBeKept
        if (isToBeKept) for (const name of Array.from(prepared.keys())) c.header(name, undefined)
        c.req.raw = request
        try {
          await next()
        } finally {
          c.req.raw = visitor
        }
        // Asked for a response that there is not, Hono gives an empty one, and would not say any more that it is missing.
        if (!c.finalized) throw new Error("a handler gave no response: did it forget to return one?")
        return { response: c.res, mayBeKept: c.error === undefined }
      },
      respond(body, init) {
        isWithout = false
        const hit = new Response(body, init)
        add(hit.headers, prepared, true)
        return hit
      },
      revalidate:
        !!app &&
        (async (request) => {
          ours.add(request)
          return app.fetch(request, c.env, executionCtx)
        }),
    })
    if (response !== c.res) {
      if (isWithout) add(response.headers, prepared, false)
      // Set over another, it would be given all of that one's headers.
      c.res = undefined
      c.res = response
    }
  }
}

/** Adds what was prepared for this visitor; on a hit it counts more than what the page had. */
function add(headers: Headers, prepared: Headers, wins: boolean): void {
  const isStale = wins && headers.get("cache-control") === "no-store"
  for (const [name, value] of prepared) {
    const present = headers.get(name)
    if (name === "set-cookie" || present === null) headers.append(name, value)
    // Lists, of which either part may be needed.
    else if (name === "vary" || name === "link") headers.set(name, `${present}, ${value}`)
    else if (wins && !OF_THE_BODY.test(name) && !(isStale && name === "cache-control"))
      headers.set(name, value)
  }
}

/** Outside Workers there is none, and Hono throws. */
function executionCtxOf(c: Context): ExecutionContext | undefined {
  try {
    return c.executionCtx
  } catch {
    return undefined
  }
}

const waitUntilOf = (executionCtx: ExecutionContext | undefined): WaitUntil | undefined =>
  executionCtx && ((promise) => executionCtx.waitUntil(promise))
