/** Events of h3 1, which Nitro 2 and so Nuxt 3 and 4 hand to handlers, and what is noted of the page that one is about. */

export type HeaderValue = string | number | readonly string[]

/** As much of Node's `IncomingMessage` as is needed. */
export interface NodeRequest {
  readonly method?: string | undefined
  readonly url?: string | undefined
  readonly originalUrl?: string | undefined
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly connection?: object
}

/** As much of Node's `ServerResponse` as is needed. */
export interface NodeResponse {
  statusCode: number
  readonly headersSent: boolean
  readonly writableEnded: boolean
  getHeader(name: string): HeaderValue | undefined
  setHeader(name: string, value: string | readonly string[]): unknown
  getHeaders(): Readonly<Record<string, HeaderValue | undefined>>
}

/** As much of h3's event as is needed. */
export interface H3Event {
  readonly node: { readonly req: NodeRequest; readonly res: NodeResponse }
  readonly path: string
  readonly context: object
  readonly waitUntil?: (promise: Promise<unknown>) => void
}

/**
 * Where the context of an event holds what is told of its page. By a registered symbol: pages and server routes are
 * bundled apart, each with a copy of this module.
 */
export const PAGE = Symbol.for("tidemark.page")

/** What is told of the page that an event is about. */
export interface PageNotes {
  readonly tags: string[]
  /** The event is one under which an entry is filled, and no visitor's. */
  readonly isFill?: true
}

type Context = { [PAGE]?: PageNotes }

/** What was told of an event's page by now. */
export const notesOf = (event: H3Event): PageNotes => ((event.context as Context)[PAGE] ??= { tags: [] })

/** Whether an entry is being filled from this event: by it, or by the one whose `$fetch` it came from. */
export function isWithinFill(event: H3Event): boolean {
  const { __unenv__: parent } = event.node.req as { readonly __unenv__?: Context }
  return [event.context as Context, parent].some((context) => context?.[PAGE]?.isFill)
}

/** Says what an event's page shows: see `depend` of `tidemark/nuxt`. */
export const note = (event: H3Event, tags: readonly string[]): void => void notesOf(event).tags.push(...tags)
