import type { Namespace } from "../protocol/namespace.ts"
import { createEntries, type SharedOptions, timesOf } from "./nuxt-entries.ts"
import { type H3Event, isWithinFill, note } from "./nuxt-event.ts"
import type { Reading, Rendered, Responder, ResponseOptions } from "./nuxt-responses.ts"

/**
 * `tidemark/nuxt`: pages, handlers and functions of Nuxt 3 and 4 under stamps, and of Nitro 2 (nitropack, h3 1) by
 * itself. Nitro 3 has `tidemark/nitro`.
 *
 * Nitro's own `swr`, `isr` and `cache` rules and its `defineCached…` keep what they keep by its age alone.
 */

export type { Unstorage } from "./bounded-storage.ts"
export type { SharedOptions } from "./nuxt-entries.ts"
export type { H3Event, NodeRequest, NodeResponse } from "./nuxt-event.ts"
export type { ResponseOptions } from "./nuxt-responses.ts"

type OrPromise<T> = T | Promise<T>

export interface EpochFunctionOptions<T, A extends unknown[]> extends SharedOptions {
  /** Tells functions apart that share a storage: bundled, they have no names of their own. */
  readonly name: string
  /** The namespace of the values. */
  readonly namespace: Namespace | ((...args: A) => Namespace)
  /** What a value depends on, known when it was made. Default: nothing but its namespace. */
  readonly tags?: (value: T, ...args: A) => OrPromise<readonly string[]>
  /** What tells arguments apart. Default: their JSON, where they are plain. */
  readonly getKey?: (...args: A) => OrPromise<string>
  /** Calls the function itself, and keeps nothing, where it answers true. Default: never. */
  readonly bypass?: (...args: A) => OrPromise<boolean>
}

/**
 * A cached function in place of Nitro's `defineCachedFunction`: none of its values is served as fresh that was
 * invalidated since the function *began*, also where it came to the storage later, or from another process.
 *
 * Values are kept as JSON; `undefined` is not kept. After a soft invalidation the old value is served while the function
 * runs once, but not where an event that is its first argument belongs to a page or handler that is being kept itself.
 *
 * @throws {TypeError} when there is no name
 * @throws {RangeError} when an option is out of range, naming it
 * @example
 *
 *     export const getPost = defineEpochCachedFunction((id: string) => cms.post(id), {
 *       name: "post", tidemark, namespace: "blog", tags: (post) => [`post-${post.id}`], storage: () => useStorage("cache"),
 *     })
 */
export function defineEpochCachedFunction<T, A extends unknown[]>(
  fn: (...args: A) => OrPromise<T>,
  options: EpochFunctionOptions<T, A>,
): (...args: A) => Promise<T> {
  const { name, namespace, tags, getKey = keyOf, bypass } = options
  if (!name) throw new TypeError("defineEpochCachedFunction: name is missing")
  const entries = createEntries<T>(options)

  return async (...args) => {
    if (await bypass?.(...args)) return fn(...args)
    const [event] = args
    const isWithin = isEvent(event) && isWithinFill(event)
    return entries(JSON.stringify([name, await getKey(...args)]), {
      namespace: typeof namespace === "function" ? namespace(...args) : namespace,
      mayBeStale: !isWithin,
      waitUntil: isEvent(event) ? event.waitUntil?.bind(event) : undefined,
      async fill() {
        const made = await fn(...args)
        return {
          value: made,
          tags: (await tags?.(made, ...args)) ?? [],
          isKept: made !== undefined,
        }
      },
    })
  }
}

const isEvent = (value: unknown): value is H3Event =>
  typeof value === "object" && value !== null && "__is_event__" in value

/** @throws {TypeError} for what JSON would make alike with something else */
const keyOf = (...args: readonly unknown[]): string =>
  JSON.stringify(args, (_, value: unknown) => {
    if (value === undefined) return { undefined: true }
    const isPlain =
      value === null ||
      ["string", "boolean"].includes(typeof value) ||
      Number.isFinite(value) ||
      Array.isArray(value) ||
      [Object.prototype, null].includes(Object.getPrototypeOf(value))
    if (!isPlain)
      throw new TypeError("defineEpochCachedFunction: not all arguments are plain: getKey is missing")
    return value
  })

export interface EpochHandlerOptions<E extends H3Event, V = unknown> extends ResponseOptions<E> {
  /** What a response depends on, beside what `depend` was told. Its url is asked by itself. Default: none. */
  readonly tags?: (value: V, event: E) => OrPromise<readonly string[]>
}

/**
 * Says what an event's page or response shows. Of a page's `setup` with `useRequestEvent()`, of a handler or a
 * middleware with its event; it may be called often. In a browser, where there is no event, it does nothing.
 *
 * @example
 *
 *     const { data: post } = await useFetch(`/api/posts/${route.params.id}`)
 *     depend(useRequestEvent(), [`post-${post.value.id}`])
 */
export function depend(event: H3Event | undefined, tags: readonly string[]): void {
  if (event) note(event, tags)
}

/**
 * What answers requests is loaded with the first of them: functions alone have no need of it.
 *
 * @throws {RangeError} at once, when an option is out of range, naming it
 */
function responderFor<E extends H3Event>(
  options: ResponseOptions<E>,
  kind: string,
  reading: Reading<E>,
): Responder<E> {
  timesOf(options)
  let loaded: Responder<E> | undefined
  return async (event, make) => {
    if (!event.node?.res?.setHeader)
      throw new TypeError("tidemark/nuxt is for Nuxt 3 and 4 (Nitro 2); for Nitro 3 there is tidemark/nitro")
    const { createResponder } = await import("./nuxt-responses.ts")
    loaded ??= createResponder(options, kind, reading)
    return loaded(event, make)
  }
}

/**
 * A cached handler in place of Nitro's `defineCachedEventHandler`, whose responses are kept under their stamps.
 *
 * A response is kept that has status 200, no cookie, and nothing that says that it is private. What makes it sees none
 * of the visitor's headers but those of `vary` and those that name the host, and no parameters of tracking. Requests with
 * `Authorization` or `Range` pass, as all do that are no GET. Headers and cookies that others prepared for the visitor
 * are not kept, and are sent along with what is.
 *
 * Browsers are told to ask again (`max-age=0, must-revalidate`), where the handler says nothing itself, and are answered
 * with 304. What is served while it is revalidated goes out as `no-store`.
 *
 * @throws {TypeError} when no function is given; with the first request, when it is not of h3 1
 * @throws {RangeError} when an option is out of range, naming it
 * @example
 *
 *     export default defineEpochCachedEventHandler(
 *       defineEventHandler((event) => cms.post(getRouterParam(event, "id"))),
 *       { tidemark, namespace: "blog", tags: (post) => [`post-${post.id}`], storage: () => useStorage("cache") },
 *     )
 */
export function defineEpochCachedEventHandler<E extends H3Event, V>(
  handler: (event: E) => OrPromise<V>,
  options: EpochHandlerOptions<E, V>,
): (event: E) => Promise<V> {
  if (typeof handler !== "function")
    throw new TypeError("defineEpochCachedEventHandler: the handler is no function")
  const { tags } = options
  const respond = responderFor(options, "handlers", {
    tags: (value, event) => tags?.(value as V, event) ?? [],
    parts: (value) => ({ body: value }),
  })

  async function cachedHandler(event: E): Promise<unknown> {
    const answer = await respond(event, handler)
    if ("passed" in answer) return answer.passed
    const { res } = event.node
    for (const [name, value] of Object.entries(answer.known ?? Object.fromEntries(answer.headers)))
      res.setHeader(name, value)
    if (!answer.known) return answer.body
    res.statusCode = 304
    return null
  }
  // As Nuxt has it for what asks: h3 sends what is kept as it would the value.
  const typed = cachedHandler as (event: E) => Promise<V>
  // By which h3 tells handlers from other functions.
  return Object.assign(typed, { __is_handler__: true })
}

export interface EpochPagesOptions<E extends H3Event> extends ResponseOptions<E> {
  /**
   * Whether the page of a request is to be kept and shown to others. It is asked before the page is rendered, which then
   * sees nothing of the visitor: no cookies, for one.
   */
  readonly pages: (event: E) => OrPromise<boolean>
  /** What a page depends on, beside what `depend` was told. Its url is asked by itself. Default: none. */
  readonly tags?: (event: E) => OrPromise<readonly string[]>
}

interface RenderContext<E> {
  readonly event: E
  render: (event: E) => unknown
}

/** As much of Nitro's app as is needed. */
export interface NitroApp {
  readonly hooks: { hook(name: never, run: never): unknown }
}

/**
 * A plugin of Nitro that keeps whole pages, as Nuxt renders them, under their stamps: as `defineEpochCachedEventHandler`
 * does for handlers. It wraps the rendering alone: middleware and hooks (`render:response`, `beforeResponse`) run for
 * every visitor.
 *
 * Leave the rules `swr` and `cache` off such routes: Nitro's own cache would lie around this one. `isr: true` has Nuxt
 * serve payloads (`_payload.json`) at run time, and is no cache but on Vercel and Netlify; a payload is invalidated with
 * its page.
 *
 * @throws {TypeError} for the app of another Nitro
 * @throws {RangeError} when an option is out of range, naming it
 * @example
 *
 *     // server/plugins/epochs.ts
 *     export default defineNitroPlugin(
 *       epochPages({
 *         tidemark, namespace: "blog", storage: () => useStorage("cache"), version: useRuntimeConfig().app.buildId,
 *         pages: (event) => event.path.startsWith("/blog/"),
 *       }),
 *     )
 */
export function epochPages<E extends H3Event>(options: EpochPagesOptions<E>): (nitroApp: NitroApp) => void {
  const { pages, tags } = options
  /** Pages that browsers have already, by the event that is answered with one. */
  const answers = new WeakMap<E, string>()
  const respond = responderFor(options, "pages", {
    tags: (_, event) => tags?.(event) ?? [],
    parts: (rendered) => (rendered as Rendered | undefined) ?? {},
  })

  async function wrapRender(context: RenderContext<E>): Promise<void> {
    const { event, render } = context
    // What Nuxt asks of itself: the page of an error, an island.
    if (event.path.startsWith("/__nuxt") || !(await pages(event))) return
    context.render = async () => {
      const answer = await respond(event, render)
      if ("passed" in answer) {
        const { passed } = answer
        return passed instanceof Blob ? { body: await passed.text() } : passed
      }
      const body = new TextDecoder().decode(answer.body)
      if (answer.known) answers.set(event, body)
      return { body, statusCode: 200, headers: Object.fromEntries(answer.headers) }
    }
  }

  /** Where nobody changed the page on its way, a browser that has it need not be sent it again. */
  function answerKnown(event: E, response: { body?: unknown }): void {
    const known = answers.get(event)
    if (known === undefined || known !== response.body) return
    event.node.res.statusCode = 304
    response.body = null
  }

  return (nitroApp) => {
    if (!("h3App" in nitroApp))
      throw new TypeError("epochPages is for Nuxt 3 and 4 (Nitro 2); for Nitro 3 there is tidemark/nitro")
    nitroApp.hooks.hook("render:before" as never, wrapRender as never)
    nitroApp.hooks.hook("beforeResponse" as never, answerKnown as never)
  }
}
