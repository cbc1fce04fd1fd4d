import type { WaitUntil } from "./epochs.ts"
import { createPages, type PagesOptions } from "./pages.ts"

/** `tidemark/sveltekit`: a `handle` hook that keeps pages under their stamps. */

export type { EpochCacheWarning, PageStore } from "./pages.ts"

/** As much of SvelteKit's event as is needed. */
export interface RequestEvent {
  readonly request: Request
  readonly platform: unknown
  readonly isSubRequest: boolean
}

/** As in `PagesOptions`; `tags` are those of a page beside what `depend` was told. */
export type EpochHandleOptions<E extends RequestEvent = RequestEvent> = PagesOptions<E>

/** What pages said that they show, by the request that they answer: `load` is handed an event of its own. */
const told = new WeakMap<Request, readonly string[]>()

/**
 * Says what a page shows, and that it may be kept and shown to others. Of a server `load`, an endpoint or a hook, with
 * its event; it may be called often. No tags: the page is kept, and invalidated by its url and its namespace.
 *
 * @example
 *
 *     export const load = async (event) => {
 *       const post = await cms.post(event.params.slug)
 *       depend(event, [`post-${post.id}`])
 *       return { post }
 *     }
 */
export function depend({ request }: { readonly request: Request }, tags: readonly string[]): void {
  told.set(request, [...(told.get(request) ?? []), ...tags])
}

/**
 * A `handle` that keeps the pages that called `depend`, under their stamps: none is served as fresh that was
 * invalidated since. All else passes.
 *
 * It belongs last in a `sequence`: hooks before it run for every visitor, hooks after it only when a page is made. What
 * a page fetches from its own site is not answered from here: the page would be stamped newer than what it shows.
 *
 * @example
 *
 *     export const handle: Handle = epochHandle({ tidemark, namespace: "blog" })
 */
export function epochHandle<E extends RequestEvent>(
  options: EpochHandleOptions<E>,
): (input: { event: E; resolve: (event: E) => Response | Promise<Response> }) => Promise<Response> {
  const serve = createPages(options)

  return async ({ event, resolve }) => {
    if (event.isSubRequest) return resolve(event)
    return serve({
      context: event,
      request: event.request,
      waitUntil: waitUntilOf(event.platform),
      async make() {
        const response = await resolve(event)
        const tags = told.get(event.request)
        return tags ? { response, tags } : { response, mayBeKept: false }
      },
    })
  }
}

/** Cloudflare's adapter calls it `ctx`, others `context`. */
function waitUntilOf(platform: unknown): WaitUntil | undefined {
  const { ctx, context = ctx } = (platform ?? {}) as Record<
    "ctx" | "context",
    { waitUntil?: WaitUntil } | undefined
  >
  return context?.waitUntil && ((promise) => context.waitUntil?.(promise))
}
