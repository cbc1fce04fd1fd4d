import { SECOND } from "../protocol/time.ts"
import { STEERING } from "./page.ts"

/** Events that `tidemark/nitro` hands to ocache, and what of them is one visitor's. */

/** What ocache needs of a request's event; h3's has more. */
export interface HTTPEvent {
  req: Request & { waitUntil?: (promise: Promise<any>) => void }
  url?: URL
}

/** What a handler made that is not kept. Thrown through ocache, which else would give it to those who wait for it. */
export class NotKept extends Error {
  override readonly name = "NotKept"
  readonly event: HTTPEvent
  readonly made: unknown
  /** By which ocache lets go of the old one; undefined where that stays. */
  readonly status: number | undefined

  /**
   * @param isFailure the old one stays, where there is one
   * @param made what the handler made; undefined where it threw `cause`
   */
  constructor(event: HTTPEvent, status: number, isFailure: boolean, made: unknown, cause?: unknown) {
    super(`${new URL(event.req.url).pathname} is not kept: it has status ${status}`, { cause })
    this.event = event
    this.made = made
    this.status = isFailure ? undefined : 404
  }
}

/** What others prepared for the visitor on h3's event. */
export function preparedOn(event: HTTPEvent): { readonly headers: Headers; status?: number } | undefined {
  const { res } = event as { res?: { headers?: unknown; status?: number } }
  return res?.headers instanceof Headers ? (res as { readonly headers: Headers }) : undefined
}

/** Takes it off, as h3 would add it once more. */
export function takePrepared(event: HTTPEvent): readonly (readonly [name: string, value: string])[] {
  const headers = preparedOn(event)?.headers ?? new Headers()
  const prepared = [...headers]
  for (const [name] of prepared) headers.delete(name)
  return prepared
}

/** What is not kept, with what was said of it on another event; h3 makes the response, where that is for it to do. */
export function handOver(event: HTTPEvent, filling: HTTPEvent, made: unknown): Response {
  const [to, from] = [preparedOn(event), preparedOn(filling)]
  if (to && from && !(made instanceof Response)) {
    if (from.status !== undefined) to.status = from.status
    for (const [name, value] of Array.from(from.headers))
      to.headers[name === "set-cookie" ? "append" : "set"](name, value)
  }
  return made as Response
}

/**
 * What was prepared for the visitor wins over what is kept; but what is said of the body is said of this one, and what is
 * stale stays `no-store`. Whose cookies go along with it, a cache in front must not show to others.
 */
export function withPrepared(response: Response, prepared: ReturnType<typeof takePrepared>): Response {
  const { headers } = response
  const isStale = headers.get("cache-control") === "no-store"
  for (const [name, value] of prepared) {
    const isSettled = (name.startsWith("content-") && headers.has(name)) || (isStale && STEERING.test(name))
    if (name === "set-cookie" || name === "vary") headers.append(name, value)
    else if (!isSettled) headers.set(name, value)
  }
  if (!isStale && prepared.some(([name]) => name === "set-cookie")) {
    for (const name of [...headers.keys()].filter((key) => STEERING.test(key))) headers.delete(name)
    headers.set("cache-control", "private, no-cache")
  }
  return response
}

/** How long after a soft invalidation the old value may be served, in milliseconds. */
export const windowOf = (
  { swr, staleMaxAge }: { readonly swr?: boolean; readonly staleMaxAge?: number },
  entry?: { readonly staleMaxAge?: number },
): number => (swr ? (entry?.staleMaxAge ?? staleMaxAge ?? Infinity) * SECOND : 0)

export function definedOnly<T extends object>(
  options: T,
): { [name in keyof T]?: Exclude<T[name], undefined> } {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as never
}
