import type { Stamp } from "../protocol/epoch.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { isFailure } from "./making.ts"
import { type HTTPEvent, NotKept, preparedOn, takePrepared } from "./nitro-event.ts"
import { ascii, ENTRY } from "./page.ts"
import { isStorable, lengthOf, OF_ONE_REQUEST } from "./page-storable.ts"
import { markOf } from "./stamped.ts"
import type { Labeller } from "./tag-header.ts"
import { OneVisitorsOwn, readWhole } from "./whole.ts"

/** Responses that handlers of `tidemark/nitro` make, before ocache has them. It is loaded with the first one. */

export interface FillOptions<E extends HTTPEvent> {
  readonly handler: (event: E) => unknown
  readonly tags: ((value: unknown, event: E) => readonly string[] | Promise<readonly string[]>) | undefined
  readonly toResponse: ((value: unknown, event: E) => Response | Promise<Response>) | undefined
  readonly labels: Labeller | undefined
  /** Told which tags had no room, and on which page. */
  readonly tellDropped: (page: string, dropped: readonly string[]) => void
  readonly namespace: Namespace
  /** Names of the headers that are in the key. */
  readonly varied: readonly string[]
  /** What is streamed cannot be read before it is answered with. */
  readonly isStreamed: boolean
}

/** What is kept, with its mark in a header. */
export interface Filled {
  readonly made: unknown
  /** Undefined where it is not ours to mark. */
  readonly text: string | undefined
  /** Headers that are about one request, and not kept. */
  readonly unkept: readonly (readonly [name: string, value: string])[]
}

/** What a handler made, labelled. */
interface Run {
  readonly made: unknown
  /** Those of the response itself; undefined where ocache has yet to make it. */
  readonly headers: Headers | undefined
  readonly status: number
  readonly asked: readonly string[]
}

export async function run<E extends HTTPEvent>(event: E, options: FillOptions<E>): Promise<Run> {
  const { handler, tags, toResponse, labels, namespace, tellDropped } = options
  const value = await handler(event)
  const asked = (await tags?.(value, event)) ?? []
  const prepared = preparedOn(event)
  const given = toResponse ? await toResponse(value, event) : prepared ? value : asResponse(value)
  // What was fetched elsewhere has headers that cannot be set.
  const made = given instanceof Response ? copyOf(given) : given
  // Else h3 makes the response, with the headers that were prepared for it.
  const headers = made instanceof Response ? made.headers : toResponse ? undefined : prepared?.headers
  const dropped = (headers && labels?.(headers, namespace, asked)) ?? []
  if (dropped.length > 0) tellDropped(new URL(event.url?.href ?? event.req.url).pathname, dropped)
  return { made, headers, status: made instanceof Response ? made.status : (prepared?.status ?? 200), asked }
}

/**
 * Makes what is to be kept, from an event that has nothing of a visitor.
 *
 * @param stamp from before
 * @throws {NotKept} for all else
 */
export async function fill<E extends HTTPEvent>(
  event: E,
  stamp: Stamp | undefined,
  options: FillOptions<E>,
): Promise<Filled> {
  try {
    const { made, headers, status, asked } = await run(event, options)
    if (made instanceof Response) takeOver(made, event)
    // Of what ocache makes a response itself, or refuses to, nothing is known here.
    if (!headers) return { made, text: undefined, unkept: [] }
    const head = new Response(null, { status, headers })
    const notKept = (all: unknown) => new NotKept(event, status, isFailure(head), all)
    if (!isStorable(head, headers, options.varied) || headers.has("content-encoding")) throw notKept(made)
    const whole = options.isStreamed ? made : await wholeOf(made)
    if (!options.isStreamed && (await isPersonal(whole, head))) throw notKept(whole)
    const kept = whole instanceof Response ? whole.headers : headers
    const unkept = Array.from(kept).filter(([name]) => OF_ONE_REQUEST.test(name))
    for (const [name] of unkept) kept.delete(name)
    const text = ascii(markOf(stamp, asked, [event.url?.href ?? event.req.url]) ?? {})
    kept.set(ENTRY, text)
    return { made: whole, text, unkept }
  } catch (cause) {
    if (cause instanceof NotKept) throw cause
    const { status = 500 } = Object(cause) as { readonly status?: unknown }
    const isGone = typeof status === "number" && !isFailure({ status } as Response)
    throw new NotKept(event, typeof status === "number" ? status : 500, !isGone, undefined, cause)
  }
}

/** What else was set on the event is the response's too, as h3 has it; it would add that when nobody looks any more. */
function takeOver({ status, headers }: Response, event: HTTPEvent): void {
  for (const [name, value] of takePrepared(event))
    if (status < 400) headers[name === "set-cookie" ? "append" : "set"](name, value)
}

/** With all of its body there. */
async function wholeOf(made: unknown): Promise<unknown> {
  return made instanceof Response ? new Response(await made.arrayBuffer(), made) : made
}

/**
 * Whether there is a nonce in what was made.
 *
 * @throws {CutShort} where it is shorter than it is said to be
 */
async function isPersonal(made: unknown, head: Response): Promise<boolean> {
  const { body } =
    made instanceof Response ? made.clone() : new Response(typeof made === "string" ? made : null)
  const isHtml = /html/i.test(head.headers.get("content-type") ?? "")
  try {
    if (body) await readWhole(body, { length: lengthOf(head), isHtml })
    return false
  } catch (cause) {
    if (cause instanceof OneVisitorsOwn) return true
    throw cause
  }
}

/** One that opens a WebSocket cannot be copied. */
function copyOf(response: Response): Response {
  return response.status < 200 ? response : new Response(response.body, response)
}

/** What ocache makes a response of. What it would refuse is left to it. */
function asResponse(value: unknown): unknown {
  if (["string", "number", "boolean", "bigint"].includes(typeof value)) return new Response(String(value))
  const isBody =
    ArrayBuffer.isView(value) ||
    [ArrayBuffer, Blob, FormData, URLSearchParams, ReadableStream].some((kind) => value instanceof kind)
  return isBody ? new Response(value as BodyInit) : value
}
