import {
  type H3Event,
  type HeaderValue,
  type NodeRequest,
  type NodeResponse,
  notesOf,
  PAGE,
  type PageNotes,
} from "./nuxt-event.ts"

/** Events of h3 1 under which `tidemark/nuxt` fills: like a visitor's, and with nothing of the visitor. */

/**
 * A response of Node that goes to nobody: it keeps what a handler sets and writes. Nothing of it reaches the visitor's
 * connection, which may long be closed, or be answering another request.
 */
export class CapturedResponse implements NodeResponse {
  statusCode = 200
  headersSent = false
  writableEnded = false
  readonly socket = null
  /** What was set. */
  readonly headers = new Headers()
  /** What was written. */
  readonly chunks: BlobPart[] = []

  getHeader(name: string): HeaderValue | undefined {
    return /^set-cookie$/i.test(name) ? this.headers.getSetCookie() : (this.headers.get(name) ?? undefined)
  }
  hasHeader(name: string): boolean {
    return this.headers.has(name)
  }
  getHeaders(): Record<string, HeaderValue | undefined> {
    return Object.fromEntries(this.getHeaderNames().map((name) => [name, this.getHeader(name)]))
  }
  getHeaderNames(): string[] {
    return [...this.headers.keys()]
  }
  setHeader(name: string, value: HeaderValue): this {
    this.headers.delete(name)
    return this.appendHeader(name, value)
  }
  appendHeader(name: string, value: HeaderValue): this {
    for (const one of [value].flat()) this.headers.append(name, String(one))
    return this
  }
  removeHeader(name: string): void {
    this.headers.delete(name)
  }
  writeHead(status: number, ...more: readonly unknown[]): this {
    this.statusCode = status
    const headers = more.at(-1)
    if (typeof headers === "object")
      for (const [name, value] of Object.entries(headers ?? {})) this.setHeader(name, value as HeaderValue)
    this.headersSent = true
    return this
  }
  write(chunk: unknown, ...more: readonly unknown[]): true {
    this.headersSent = true
    const given = [chunk, ...more]
    if (typeof chunk === "string" || ArrayBuffer.isView(chunk)) this.chunks.push(chunk as BlobPart)
    for (const callback of given) if (typeof callback === "function") callback()
    return true
  }
  end(...given: readonly unknown[]): this {
    this.writableEnded = true
    this.write(given[0], ...given.slice(1))
    return this
  }
  flushHeaders(): void {}

  /** It emits nothing: whoever waits for the connection to close waits for none. */
  on(): this {
    return this
  }
  once(): this {
    return this
  }
  off(): this {
    return this
  }
  removeListener(): this {
    return this
  }
  emit(): boolean {
    return false
  }
}

type Fetch = (request: unknown, init?: Fetched) => unknown
interface Fetched {
  readonly context?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

/**
 * An event like a visitor's, but for what is the visitor's own: it has these headers alone, a response that goes to
 * nobody, and a copy of the context. As Nitro 2 makes them for what it caches.
 *
 * @param search the parameters, where they are not the visitor's: `""`, or as in `URL`
 */
export function eventForFill<E extends H3Event>(
  event: E,
  headers: Readonly<Record<string, string>>,
  search: string | undefined,
): E & CapturedEvent {
  const { node, context } = event
  const { url = "/", originalUrl = url } = node.req
  const plain = (path: string) => (search === undefined ? path : path.replace(/\?.*/s, "") + search)
  // What is read of the request otherwise, such as its socket, is the visitor's.
  const req: NodeRequest = Object.create(node.req, {
    method: own("GET"),
    headers: own(headers),
    rawHeaders: own(Object.entries(headers).flat()),
    url: own(plain(url)),
    originalUrl: own(plain(originalUrl)),
  })
  const Event = event.constructor as new (req: NodeRequest, res: NodeResponse) => E & CapturedEvent
  const filling = new Event(req, new CapturedResponse())
  const notes: PageNotes = { tags: [...notesOf(event).tags], isFill: true }
  const ownContext = { ...context, [PAGE]: notes }
  const { $fetch } = globalThis as { readonly $fetch?: Fetch & { readonly native: Fetch } }
  const { host: _, ...forwarded } = headers
  const fetcher =
    (send: Fetch): Fetch =>
    (request, init) => {
      const isOwn = typeof request === "string" && request.startsWith("/")
      return send(request, {
        ...init,
        context: init?.context ?? ownContext,
        headers: { ...(isOwn ? headers : forwarded), ...init?.headers },
      })
    }
  const { waitUntil, captureError } = event as { waitUntil?: unknown; captureError?: unknown }
  return Object.assign(filling, {
    _path: plain(event.path),
    context: ownContext,
    waitUntil,
    captureError,
    ...($fetch && { $fetch: fetcher($fetch), fetch: fetcher($fetch.native) }),
  })
}

const own = (value: unknown): PropertyDescriptor => ({ value, writable: true, enumerable: true })

/** An event whose response is captured. */
export interface CapturedEvent extends H3Event {
  readonly node: { readonly req: NodeRequest; readonly res: CapturedResponse }
}
