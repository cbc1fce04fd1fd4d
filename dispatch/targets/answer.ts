import { carriesUser } from "../../protocol/address.ts"
import { type Milliseconds, SECOND } from "../../protocol/time.ts"
import type {
  Batch,
  Capabilities,
  Outcome,
  Surroundings,
  VendorAnswer,
  VendorRequest,
  VendorHeaders,
  Value,
} from "./target.ts"

/** What every driver does alike: ask once, read no more of the answer than it needs, and say what it means. */

/** Ours: the longest answer that any vendor here sends for a reason is a few KiB of errors. */
const MAX_BODY_BYTES = 64 * 1024

/** Ours: of what a vendor says about itself, as much as a receipt shows. */
const MAX_DETAIL = 200

export interface Answer extends Pick<VendorAnswer, "status" | "headers"> {
  /** The first 64 KiB; less where the connection broke. */
  readonly text: string
}

export type Trouble = Extract<Outcome, { outcome: "trouble" }>

/**
 * Makes one request and reads its answer; no answer is `trouble`. Never rejects, never follows a redirect, and leaves
 * no body unread or open.
 *
 * @param who whom to name in the detail: a host, never an address with a path, which may be a secret
 */
export async function ask(
  { fetch }: Pick<Surroundings, "fetch">,
  who: string,
  url: string,
  request: VendorRequest,
  signal: AbortSignal,
): Promise<Answer | Trouble> {
  try {
    // By its bare name: a Worker's own `fetch` refuses to be called as a method of anything else.
    const response = await fetch(url, { ...request, redirect: "manual", signal })
    return { status: response.status, headers: response.headers, text: await readText(response.body) }
  } catch (error) {
    return { outcome: "trouble", detail: `${who} gave ${noAnswer(error, signal)}` }
  }
}

/** A body that is drained lets its connection be used again; one that is too long is left, which closes it. */
async function readText(body: VendorAnswer["body"]): Promise<string> {
  if (!body) return ""
  const decoder = new TextDecoder()
  let text = ""
  let size = 0
  try {
    for await (const part of body) {
      size += part.length
      text += decoder.decode(part, { stream: true })
      if (size >= MAX_BODY_BYTES) return text
    }
    return text + decoder.decode()
  } catch {
    // The status came, and is the answer. A driver that needs the body finds it unreadable.
    return text
  }
}

/** An error's message may hold the header that it is about, token and all; its code is one word of the platform's. */
function noAnswer(error: unknown, signal: AbortSignal): string {
  if (signal.aborted) {
    const timedOut = member(signal.reason, "name") === "TimeoutError"
    return timedOut ? "no answer in time" : "no answer before the attempt was aborted"
  }
  const code = errorCode(error) ?? errorCode(member(error, "cause"))
  return code === undefined ? "no answer" : `no answer (${code})`
}

function errorCode(error: unknown): string | undefined {
  const code = member(error, "code")
  return typeof code === "string" && /^[A-Z][A-Z0-9_]{1,63}$/.test(code) ? code : undefined
}

/** A member that is a text; empty where there is none. */
export function textOf(of: unknown, name: string): string {
  const value = member(of, name)
  return typeof value === "string" ? value : ""
}

/** What a text says as JSON; undefined where it is none. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** A member of what may be anything at all; undefined where there is none. */
export const member = (of: unknown, name: string): unknown =>
  of !== null && typeof of === "object" ? Reflect.get(of, name) : undefined

/**
 * What a status says, where the vendor means by it what HTTP does: 2xx accepted, 401 and 403 unauthorised, 408, 429
 * and whatever is no 4xx trouble, every other 4xx refused.
 *
 * @param said the vendor's own words, already `tidy`
 */
export function byStatus(who: string, answer: Answer, now: Milliseconds, said = ""): Outcome {
  const { status } = answer
  const detail = `${who} answered ${status}${said === "" ? "" : `: ${said}`}`
  if (status >= 200 && status < 300) return { outcome: "accepted", status }
  if (status === 401 || status === 403) return { outcome: "unauthorised", status, detail }
  if (status >= 400 && status < 500 && status !== 408 && status !== 429)
    return { outcome: "refused", status, detail }
  return troubleOf(answer, now, detail)
}

/** Options that may have to be mended, by what a vendor finds fault with. */
export interface Mend {
  /** Those that say who asks. */
  readonly keys: readonly string[]
  /** Those that say for what: a zone, a project, an address. */
  readonly place: readonly string[]
}

/** What a driver knows of an answer by its vendor's own words. */
export interface Reading {
  readonly mend: Mend
  /** The words, already `tidy`. Default: none. */
  readonly said?: string
  /** Of a 4xx: whether the vendor's own words are there, in the form that it gives them. */
  readonly isOwn: boolean
  /** Of a 2xx: whether that is what the vendor says of a purge that it took. Default false. */
  readonly isTaken?: boolean
  /** Of a 2xx: whether the vendor says in it that it did not take the purge. Default false. */
  readonly isFailed?: boolean
  /**
   * Whose matter the words are, where they tell: ours by `keys` or `place` of `mend`, or by either (`us`), the vendor's
   * or the value's. Default: the status tells.
   */
  readonly about?: "keys" | "place" | "us" | "vendor" | "value" | undefined
  /** How many values the call carried. Default 1. */
  readonly count?: number
}

/** By no status of these is a value at fault, unless the vendor's words say so; by 401 it is who asks for certain. */
const ABOUT_US: readonly number[] = [401, 402, 403, 404, 405, 410]

/** No option mends a clock. */
const CLOCK = /\btimestamp\b|signature (?:expired|not yet)|request (?:has )?expired|timeframe|tooskewed/i

/**
 * What an answer means, where the vendor's words tell more than its status. A value is only ever given up for words of
 * the vendor's own: a page, an empty body and whatever nobody knows come from a proxy, a log-in page or a wrong address
 * as well, and are trouble.
 */
export function verdict(
  who: string,
  answer: Answer,
  now: Milliseconds,
  { mend, said = "", isOwn, isTaken = false, isFailed = false, about, count = 1 }: Reading,
): Outcome {
  const { status } = answer
  const isOk = status >= 200 && status < 300
  if (isOk && isTaken) return { outcome: "accepted", status }
  const head = `${who} answered ${status}`
  const detail = head + (isOk && isFailed ? " without success" : "") + (said && `: ${said}`)
  const isPassing = !isOk && (status < 400 || status >= 500 || status === 408 || status === 429)
  if (isPassing || about === "vendor") return troubleOf(answer, now, detail)
  if (about !== "value" && (about || ABOUT_US.includes(status))) {
    if (CLOCK.test(said))
      return { outcome: "unauthorised", status, detail: `${detail} (is the clock right?)`, mend: [] }
    const { keys, place } = mend
    const by = about ?? (status === 401 ? "keys" : "us")
    return {
      outcome: "unauthorised",
      status,
      detail,
      mend: by === "keys" ? keys : by === "place" ? place : [...place, ...keys],
    }
  }
  const isNo = isOk ? isFailed : isOwn && (status === 400 || status === 413 || status === 422)
  // Too large is what a call is, whoever says so; one value alone is not.
  if (about || isNo || (status === 413 && count > 1)) return { outcome: "refused", status, detail }
  if (said !== "") return troubleOf(answer, now, detail)
  const body = isPage(answer)
    ? "a page: does a proxy or a log-in stand before it?"
    : isOk
      ? "a body that cannot be read"
      : "no words of its own"
  return troubleOf(answer, now, `${head} with ${body}`)
}

/** Whether HTML came, by its type or as text: no API here answers so. */
export const isPage = (answer: Answer): boolean =>
  /\bhtml\b/i.test(answer.headers.get("content-type") ?? "") || isMarkup(answer.text)

/** Whether a text begins as a page does. */
export const isMarkup = (text: string): boolean =>
  /^[\s\uFEFF]*(?:<!--[^]*?-->\s*|<\?xml[^>]*>\s*)*<(?:!doctype html|html|head|body|title|meta|script)\b/i.test(
    text,
  )

/** An answer that is about the vendor, with the pause that it asked for. */
export function troubleOf({ status, headers }: Answer, now: Milliseconds, detail: string): Trouble {
  const pause = retryAfter(headers, now)
  return { outcome: "trouble", status, detail, ...(pause === undefined ? {} : { retryAfter: pause }) }
}

/**
 * How long `Retry-After` asks to wait, from now; undefined when it is missing or makes no sense. Seconds or any of the
 * three date forms of HTTP. Not capped: the lane does that.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
 */
export function retryAfter(headers: VendorHeaders, now: Milliseconds): Milliseconds | undefined {
  const text = headers.get("retry-after")?.trim() ?? ""
  if (/^\d{1,10}$/.test(text)) return Number(text) * SECOND
  if (!/^[A-Z][a-z]{2,8},? /.test(text)) return undefined
  // The oldest form names no zone and means GMT; without the word it would be read as local time.
  const at = Date.parse(text.endsWith("GMT") ? text : `${text} GMT`)
  return Number.isNaN(at) ? undefined : Math.max(0, at - now)
}

/* oxlint-disable-next-line no-control-regex -- control characters are what is taken out */
const CONTROL = /[\u0000-\u001f\u007f-\u009f]+/g

/** A vendor's own words as a receipt may show them: one line, 200 characters, and no secret that it echoed. */
export function tidy(text: string, secrets: readonly string[] = []): string {
  const clean = secrets.reduce((rest, secret) => rest.replaceAll(secret, "[secret]"), text)
  return clean.replaceAll(CONTROL, " ").trim().slice(0, MAX_DETAIL)
}

/** `unsupported` for a batch that the capabilities do not allow: better than to send something weaker instead. */
export function beyond({ kinds }: Capabilities, { mode, values }: Batch): Outcome | undefined {
  const value = values.find(({ kind }) => !kinds[kind]?.modes.includes(mode))
  return value && { outcome: "unsupported", detail: `it cannot ${mode} by ${value.kind}` }
}

/**
 * `unsupported` for the values that the vendor would take for more than they name, such as a url that ends in its
 * wildcard: what is wider than a namespace must be allowed, and nobody was asked. Never sent; the others are.
 *
 * @param isMore whether it would take this value so
 * @param what what such a value is: `a url that ends in *`
 */
export function more(
  { values }: Batch,
  isMore: (value: Value) => boolean,
  what: (value: Value) => string,
): Outcome | undefined {
  const at = [...values.keys()].filter((place) => values.slice(place, place + 1).some(isMore))
  const [value] = values.filter(isMore)
  return (
    value && {
      outcome: "unsupported",
      detail: `it cannot purge by ${what(value)}`,
      ...(at.length < values.length ? { at } : {}),
    }
  )
}

/**
 * The same of every `*` in an address, or in as much of it as is sent: for vendors to which it is a pattern, that take
 * none, or that do not publish whether they do.
 */
export const withWildcard = (
  batch: Batch,
  sent: (url: string) => string = (url) => url,
): Outcome | undefined =>
  more(
    batch,
    ({ kind, value }) => (kind === "url" || kind === "prefix") && sent(value).includes("*"),
    ({ kind }) => `a ${kind} that holds a *`,
  )

/** For vendors that are told no queries. */
export const pathOf = (url: string): string => new URL(url).pathname

/**
 * The address that an option holds.
 *
 * @throws {TypeError} naming the option and no value, when it is none, or holds credentials: `fetch` refuses those
 */
export function address(option: string, text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || (url.protocol !== "https:" && url.protocol !== "http:")) {
    throw new TypeError(`${option} is not an http or https URL`)
  }
  if (carriesUser(url)) throw new TypeError(`${option} must not hold a user or a password`)
  return url
}

/**
 * The same for an option to which paths are added: what it is without a slash at its end.
 *
 * @throws {TypeError} also when it has a query
 */
export function baseAddress(option: string, text: string): { readonly base: string; readonly host: string } {
  const { origin, pathname, search, host } = address(option, text)
  if (search !== "") throw new TypeError(`${option} must not have a query`)
  return { base: origin + pathname.replace(/\/$/, ""), host }
}
