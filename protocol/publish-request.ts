import { type Fault, Problem } from "./errors.ts"
import { countAsked, type Invalidation, MAX_BATCH, MAX_SELECTORS, parseInvalidation } from "./invalidation.ts"
import { type Principal, requirePlain, requireScope, scopePatterns } from "./tokens.ts"

/** What a publish asks for: one invalidation or several, and whether the token may. */

/** A token that may publish nothing is told so before its body is read. */
export function requireAnyPublish(principal: Principal): void {
  if (scopePatterns(principal, "publish").length === 0) requirePlain(principal, "everything")
}

/** @throws {Problem} `insufficient_scope` */
export function requirePublish(principal: Principal, { namespace }: Invalidation): void {
  if (namespace === null) requirePlain(principal, "everything")
  else requireScope(principal, "publish", namespace)
}

export function readRequest(body: unknown): { invalidations: readonly Invalidation[]; batch: boolean } {
  const list = batchOf(body)
  if (list === undefined) {
    if (countAsked(body) > MAX_SELECTORS) throw tooManySelectors()
    const read = parseInvalidation(body)
    if ("errors" in read) throw invalid(read.errors)
    return { invalidations: [read.value], batch: false }
  }
  const others = Object.keys(body as object).filter((key) => key !== "invalidations")
  if (others.length > 0)
    throw invalid(others.map((key) => ({ pointer: `/${key}`, detail: "is not a known member" })))
  if (list.length < 1 || list.length > MAX_BATCH) {
    throw invalid([{ pointer: "/invalidations", detail: `must have 1 to ${MAX_BATCH} items` }])
  }
  if (list.reduce<number>((sum, item) => sum + countAsked(item), 0) > MAX_SELECTORS) throw tooManySelectors()
  const errors: Fault[] = []
  const invalidations: Invalidation[] = []
  for (const [index, item] of list.entries()) {
    const read = parseInvalidation(item, ["invalidations", index])
    if ("errors" in read) errors.push(...read.errors)
    else invalidations.push(read.value)
  }
  if (errors.length > 0) throw invalid(errors)
  return { invalidations, batch: true }
}

function batchOf(body: unknown): readonly unknown[] | undefined {
  if (body === null || typeof body !== "object" || !("invalidations" in body)) return undefined
  if (Array.isArray(body.invalidations)) return body.invalidations as unknown[]
  throw invalid([{ pointer: "/invalidations", detail: "must be a list" }])
}

export const invalid = (errors: readonly Fault[]): Problem =>
  new Problem("invalid_request", "The request has members that are not as they must be.", { errors })

export const tooManySelectors = (): Problem =>
  new Problem("too_many_selectors", `A request may carry at most ${MAX_SELECTORS} selectors.`)
