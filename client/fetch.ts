import type { WaitUntil } from "./epochs.ts"
import { createPages, type PagesOptions } from "./pages.ts"

/** `tidemark/fetch`: any Worker's fetch handler behind pages that are kept under their stamps. */

export type { EpochCacheWarning, PageStore } from "./pages.ts"

/** As much of a Worker's context as is needed. */
interface Context {
  waitUntil?(promise: Promise<unknown>): void
}

/** A Worker's `fetch`, or that of any other runtime that hands over a request. */
export type FetchHandler<Env = unknown, Ctx extends Context = Context> = (
  request: Request,
  env: Env,
  ctx: Ctx,
) => Response | Promise<Response>

/** What one request came with. */
export interface Visitor<Env, Ctx> {
  readonly request: Request
  readonly env: Env
  readonly ctx: Ctx
}

export type EpochCacheOptions<Env, Ctx> = PagesOptions<Visitor<Env, Ctx>>

/**
 * Puts a handler behind pages that are kept under their stamps: none is served as fresh that was invalidated since.
 *
 * @example
 *
 *     export default { fetch: withEpochCache(site, { tidemark, namespace: "blog" }) }
 */
export function withEpochCache<Env = unknown, Ctx extends Context = Context>(
  handler: FetchHandler<Env, Ctx>,
  options: EpochCacheOptions<Env, Ctx>,
): FetchHandler<Env, Ctx> {
  const serve = createPages(options)

  const answer = (request: Request, env: Env, ctx: Ctx, isRevalidation?: boolean): Promise<Response> =>
    serve({
      context: { request, env, ctx },
      request,
      waitUntil: waitUntilOf(ctx),
      isRevalidation,
      make: async (page) => ({ response: await handler(page, env, ctx) }),
      // With a context of its own: the visitor's request is aborted when they leave.
      revalidate: (again) => answer(again, env, ctx, true),
    })

  return async (request, env, ctx) => answer(request, env, ctx)
}

/** Some runtimes hand over no context, and some one that cannot wait. */
const waitUntilOf = (ctx: Context | undefined): WaitUntil | undefined =>
  ctx?.waitUntil && ((promise) => ctx.waitUntil?.(promise))
