import type { WaitUntil } from "./epochs.ts"
import { createPages, type PagesOptions } from "./pages.ts"

/** `tidemark/sveltekit`: a `handle` hook that keeps pages under their stamps. */

export type { EpochCacheWarning, PageStore } from "./pages.ts"

/** As much of SvelteKit's event as is needed. */
export interface RequestEvent {
  readonly request: Request
  readonly url: URL
  readonly platform: unknown
  readonly isSubRequest: boolean
  readonly route: { readonly id: string | null }
  readonly cookies: {
    getAll(): { name: string; value: string }[]
    set(name: string, value: string, options: never): void
    delete(name: string, options: never): void
  }
  setHeaders(headers: Record<string, string>): void
}

/** As in `PagesOptions`; `tags` are those of a page beside what `depend` was told. */
export type EpochHandleOptions<E extends RequestEvent = RequestEvent> = PagesOptions<E>

/** What pages said that they show, by the request that they answer: `load` is handed an event of its own. */
const told = new WeakMap<Request, readonly unknown[]>()

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
  // What is no list counts as one tag, or none: a text would be taken for its letters.
  told.set(request, [...(told.get(request) ?? []), ...[tags].flat()])
}

/** What SvelteKit puts on every page that it renders, and on nothing else. */
const RENDERED = "x-sveltekit-page"

/** A method that nothing answers but `fallback`: SvelteKit says so by itself, and runs nothing of the page's. */
const NO_METHOD = "NONE"
const METHOD_NOT_ALLOWED = 405

/** What it says so with. */
const OF_NO_METHOD: readonly string[] = ["allow", "content-type", "content-length", "vary"]

/**
 * A `handle` that keeps the pages that called `depend`, under their stamps: none is served as fresh that was
 * invalidated since. All else passes.
 *
 * It belongs last in a `sequence`: hooks before it run for every visitor. What they set (`event.cookies`,
 * `event.setHeaders`) is not kept, and reaches every visitor as it was set for them, on a hit too: for that, SvelteKit is
 * asked for the page by a method that nothing answers (`NONE`), and hooks after this one see that request. An endpoint
 * that answers any method (`fallback`) is not answered from the cache. What a page fetches from its own site is not
 * either: the page would be stamped newer than what it shows.
 *
 * @example
 *
 *     export const handle: Handle = epochHandle({ tidemark, namespace: "blog" })
 */
export function epochHandle<E extends RequestEvent>(
  options: EpochHandleOptions<E>,
): (input: { event: E; resolve: (event: E) => Response | Promise<Response> }) => Promise<Response> {
  const serve = createPages(options)
  /** Routes of endpoints that answer any method. */
  const open = new Set<string | null>()

  return async ({ event, resolve }) => {
    if (event.isSubRequest) return resolve(event)
    const { route } = event
    const cookies = cookiesOf(event)
    return serve({
      context: event,
      request: event.request,
      waitUntil: waitUntilOf(event.platform),
      async make(request, isToBeKept) {
        if (!isToBeKept || open.has(route.id)) return { response: await resolve(event), mayBeKept: false }
        const { preparedNames, watched } = await import("./sveltekit-event.ts")
        const inside = watched(event, request)
        const response = await resolve(inside.event)
        const tags = [...new Set([event.request, request])].map((asked) => told.get(asked))
        if (!tags.some(Boolean)) return { response, mayBeKept: false }
        const own = new Headers(response.headers)
        for (const name of preparedNames(event, own)) if (!inside.names.has(name)) own.delete(name)
        // What SvelteKit renders has no cookies but those that were set through the event.
        if (own.has(RENDERED) && !inside.setsCookies() && cookiesOf(event) === cookies)
          own.delete("set-cookie")
        return { response, own, tags: tags.flatMap((list) => list ?? []) as readonly string[] }
      },
      async respond(body, init) {
        const headers = new Headers(init.headers)
        const prepared = open.has(route.id) ? undefined : await preparedHeaders(event, resolve)
        if (!prepared) {
          open.add(route.id)
          return undefined
        }
        for (const [name, value] of prepared)
          if (name === "set-cookie") headers.append(name, value)
          else if (!OF_NO_METHOD.includes(name)) headers.set(name, value)
        return new Response(body, { status: init.status, headers })
      },
    })
  }
}

/**
 * What hooks before set for this visitor. SvelteKit puts it on every response: also where it runs nothing of the page's.
 * Undefined where an endpoint answers any method at all (`fallback`), and so would be run.
 */
async function preparedHeaders<E extends RequestEvent>(
  event: E,
  resolve: (event: E) => Response | Promise<Response>,
): Promise<Headers | undefined> {
  const request = new Request(event.url, { headers: { accept: "text/html" } })
  Object.defineProperty(request, "method", { value: NO_METHOD })
  // What hooks behind this one set is the page's, which has it.
  const set = () => undefined
  const { status, headers } = await resolve({
    ...event,
    cookies: { ...event.cookies, set, delete: set },
    setHeaders: set,
    request,
  })
  return status === METHOD_NOT_ALLOWED ? headers : undefined
}

const cookiesOf = ({ cookies }: RequestEvent): string => textOf(cookies.getAll())

/** Cookies as a text, whatever their order. */
export const textOf = (cookies: readonly { readonly name: string; readonly value: string }[]): string =>
  cookies
    .map(({ name, value }) => JSON.stringify([name, value]))
    .toSorted()
    .join()

/** Cloudflare's adapter calls it `ctx`, others `context`. */
function waitUntilOf(platform: unknown): WaitUntil | undefined {
  const { ctx, context = ctx } = (platform ?? {}) as Record<
    "ctx" | "context",
    { waitUntil?: WaitUntil } | undefined
  >
  return context?.waitUntil && ((promise) => context.waitUntil?.(promise))
}
