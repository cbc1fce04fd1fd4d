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

/**
 * Keeps pages in the Cache API under their stamps, and never serves one as fresh that was invalidated since.
 *
 * Middleware that compresses, or that answers by itself whom it does not let in, belongs before this one.
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
    let hit: Response | undefined
    await serve({
      context: c,
      request: c.req.raw,
      waitUntil: waitUntilOf(executionCtx),
      isRevalidation: ours.has(c.req.raw),
      async make() {
        await next()
        // What was fetched elsewhere has headers that cannot be set; through the context they can.
        c.header("cache-status", c.res.headers.get("cache-status") ?? undefined)
        return { response: c.res, mayBeKept: c.error === undefined }
      },
      // Through the context, so that headers which others prepared are not lost.
      respond: (body, headers) => (hit = c.newResponse(body, 200, headers)),
      revalidate:
        !!app &&
        (async (request) => {
          ours.add(request)
          return app.fetch(request, c.env, executionCtx)
        }),
    })
    return hit
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
