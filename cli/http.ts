import { isRecord } from "./json.ts"
import { CliError, type ExitName } from "./exit.ts"
import { plain } from "./output.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import { packageVersion } from "./version.ts"

/** Where a part answers, and as whom it is asked. */
export interface Connection {
  /** Its path ends with a slash. */
  readonly url: URL
  /** Where the address comes from, if nobody gave one. */
  readonly urlNote?: string
  readonly token?: string
  readonly tokenFrom?: string
}

export interface Call {
  readonly method?: "GET" | "POST" | "DELETE"
  /** Without a leading slash: the address may have a path of its own. */
  readonly path: string
  readonly query?: Readonly<Record<string, string | readonly string[] | undefined>>
  readonly body?: unknown
  /** A body that is sent as it is, instead of `body`; its type stands in `headers`. */
  readonly text?: string
  readonly headers?: Readonly<Record<string, string>>
  /** How long to wait for the answer. @default 15 s: a Worker answers within 5, with 503 if need be */
  readonly timeout?: Milliseconds
  readonly signal?: AbortSignal
}

const TIMEOUT: Milliseconds = 15 * SECOND

/** An answer that says no: its detail, and each of its faults by pointer. */
export class RefusedCall extends CliError {
  readonly status: number

  constructor(status: number, message: string, json: unknown, lines: readonly string[]) {
    super(exitOf(status), message, { json, lines })
    this.status = status
  }
}

const exitOf = (status: number): ExitName => (status === 401 || status === 403 ? "refused" : "failed")

/**
 * Sends one request and gives the JSON that it was answered with; undefined with 204. Never repeats it, never follows
 * a redirect.
 *
 * @throws {RefusedCall} anything but 2xx
 * @throws {CliError} `unreachable`: no answer, or none in time; `failed`: an answer that is no JSON
 */
export async function send(connection: Connection, call: Call): Promise<unknown> {
  const { status, text } = await exchange(connection, call)
  if (status === 204) return undefined
  const body = parseJson(text)
  if (status < 200 || status > 299) throw refused(connection, status, body)
  if (body !== undefined) return body
  throw new CliError("failed", `${connection.url.href} answered ${status}, but no JSON: is that a Tidemark?`)
}

async function exchange(connection: Connection, call: Call): Promise<{ status: number; text: string }> {
  const { url: base, urlNote, token } = connection
  const { method = "GET", path, query = {}, body, text: given, headers, timeout = TIMEOUT, signal } = call
  const url = new URL(path, base)
  for (const [name, value] of Object.entries(query)) {
    for (const item of value === undefined ? [] : [value].flat()) url.searchParams.append(name, item)
  }
  const deadline = AbortSignal.timeout(Math.ceil(timeout))
  try {
    const response = await fetch(url, {
      method,
      redirect: "manual",
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
      headers: {
        accept: "application/json",
        "user-agent": `tidemark/${packageVersion()}`,
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(given === undefined ? {} : { body: given }),
    })
    // Whatever answers there may be no Tidemark, and repeat what it was sent.
    const text = (await response.text()).replaceAll(token ?? "\0", "[token]")
    return { status: response.status, text }
  } catch (error) {
    signal?.throwIfAborted()
    const reason = deadline.aborted ? `not within ${Math.ceil(timeout / SECOND)} s` : reasonOf(error)
    const lines = urlNote === undefined ? [] : [`  ${urlNote}`]
    throw new CliError("unreachable", `nothing answers at ${base.href}: ${reason}`, { lines, cause: error })
  }
}

/** `fetch failed` says nothing; what lies below it has a code. */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined
  if (!(cause instanceof Error)) return "the connection broke"
  return "code" in cause && typeof cause.code === "string" ? cause.code : plain(cause.message)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return undefined
  }
}

/** What an answer that says no is told as. */
export function refused({ url, token, tokenFrom }: Connection, status: number, body: unknown): RefusedCall {
  const problem = isRecord(body) ? body : {}
  const { detail, code, errors } = problem
  const known = typeof detail === "string"
  const message = known
    ? `${plain(detail)} (${status}${typeof code === "string" ? ` ${plain(code)}` : ""})`
    : `${url.href} answered ${status}${status >= 300 && status < 400 ? ", a redirect: is the address right?" : ""}`
  const lines = (Array.isArray(errors) ? errors : []).flatMap((fault: unknown) =>
    isRecord(fault) ? [`  ${plain(String(fault["pointer"]) || "/")}: ${plain(String(fault["detail"]))}`] : [],
  )
  if (status === 401) {
    lines.push(
      token === undefined
        ? "  no token was sent: set TIDEMARK_TOKEN or --token-file, or run beside `tidemark dev`"
        : `  the token is the one from ${tokenFrom}`,
    )
  }
  const json = known ? problem : { type: "about:blank", status, detail: message }
  return new RefusedCall(status, message, json, lines)
}
