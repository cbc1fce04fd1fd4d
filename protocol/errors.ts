import type { Seconds } from "./time.ts"

/** Every code an answer of ours can carry, with the status and title it always has. */
export const PROBLEMS = {
  invalid_json: { status: 400, title: "The body is not valid JSON" },
  invalid_parameter: { status: 400, title: "A parameter is not valid" },
  invalid_idempotency_key: { status: 400, title: "The idempotency key is not valid" },
  unauthorized: { status: 401, title: "A valid token is needed" },
  invalid_signature: { status: 401, title: "The signature does not verify" },
  stale_signature: { status: 401, title: "The signature is too old or from the future" },
  insufficient_scope: { status: 403, title: "The token does not allow this" },
  everything_not_allowed: { status: 403, title: "No target may be purged as a whole" },
  not_found: { status: 404, title: "There is nothing here" },
  unknown_source: { status: 404, title: "No such source is configured" },
  method_not_allowed: { status: 405, title: "The method is not allowed here" },
  body_too_large: { status: 413, title: "The body is too large" },
  misdirected: { status: 421, title: "This is not the host that was asked for" },
  invalid_request: { status: 422, title: "The request is not valid" },
  unknown_namespace: { status: 422, title: "The namespace is not declared" },
  outside_namespace: { status: 422, title: "A selector lies outside its namespace" },
  too_many_selectors: { status: 422, title: "The request carries too many selectors" },
  idempotency_key_reused: { status: 422, title: "The idempotency key was used with another body" },
  rate_limited: { status: 429, title: "Too many requests" },
  internal: { status: 500, title: "Something went wrong here" },
  not_supported: { status: 501, title: "No target can do this" },
  store_unavailable: { status: 503, title: "The store cannot be reached" },
  misconfigured: { status: 503, title: "The configuration is not complete" },
} as const

export type ProblemCode = keyof typeof PROBLEMS

/** One thing that is wrong in a request: where, as a JSON Pointer into the body, and what. */
export interface Fault {
  readonly pointer: string
  readonly detail: string
}

export interface ProblemOptions {
  readonly errors?: readonly Fault[]
  /** Sent as `Retry-After`. */
  readonly retryAfter?: Seconds
  readonly headers?: Readonly<Record<string, string>>
  readonly cause?: unknown
}

/**
 * An answer that says no. Thrown anywhere below a route and written as RFC 9457 by the outermost handler; its detail
 * is shown to whoever asked, so it never holds a secret, a header or an unvalidated value.
 */
export class Problem extends Error {
  readonly code: ProblemCode
  readonly errors: readonly Fault[] | undefined
  readonly headers: Readonly<Record<string, string>>

  constructor(code: ProblemCode, detail: string, options: ProblemOptions = {}) {
    super(detail, { cause: options.cause })
    this.name = "Problem"
    this.code = code
    this.errors = options.errors
    this.headers = {
      ...options.headers,
      ...(options.retryAfter === undefined ? {} : { "retry-after": String(options.retryAfter) }),
    }
  }

  get status(): number {
    return PROBLEMS[this.code].status
  }

  /** The members of RFC 9457, `errors` only where there are any. */
  toJSON(): Record<string, unknown> {
    // A foreign Host is told as `invalid_request`, with the status that HTTP has for it.
    const code = this.code === "misdirected" ? "invalid_request" : this.code
    return {
      type: `urn:tidemark:error:${code}`,
      code,
      title: PROBLEMS[this.code].title,
      status: this.status,
      detail: this.message,
      ...(this.errors ? { errors: this.errors } : {}),
    }
  }
}

/** Renders a problem as its HTTP answer's parts. Anything that is no `Problem` becomes `internal`, told to nobody. */
export function problemParts(error: unknown): {
  problem: Problem
  body: string
  headers: Record<string, string>
} {
  const problem =
    error instanceof Problem
      ? error
      : new Problem("internal", "The request could not be handled.", { cause: error })
  return {
    problem,
    body: JSON.stringify(problem),
    headers: { "content-type": "application/problem+json", "cache-control": "no-store", ...problem.headers },
  }
}

/** A JSON Pointer (RFC 6901) from a path of members and indices. */
export const pointer = (path: readonly PropertyKey[]): string =>
  path.map((part) => `/${String(part).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("")
