import { describe, expect, it } from "vitest"
import { pointer, Problem, problemParts, PROBLEMS } from "./errors.ts"

describe("a problem", () => {
  it("is written by RFC 9457", () => {
    const errors = [{ pointer: "/tags/0", detail: "a tag is not empty" }]
    expect(JSON.parse(JSON.stringify(new Problem("invalid_request", "Mend it.", { errors })))).toEqual({
      type: "urn:tidemark:error:invalid_request",
      code: "invalid_request",
      title: PROBLEMS.invalid_request.title,
      status: 422,
      detail: "Mend it.",
      errors,
    })
  })

  it("without faults has no list of them", () => {
    expect(new Problem("not_found", "There is none.").toJSON()).not.toHaveProperty("errors")
  })

  it("carries its headers", () => {
    const { headers } = problemParts(
      new Problem("store_unavailable", "Later.", { retryAfter: 2, headers: { allow: "GET" } }),
    )
    expect(headers).toEqual({
      "content-type": "application/problem+json",
      "cache-control": "no-store",
      "retry-after": "2",
      allow: "GET",
    })
  })

  it("of a foreign host is told as an invalid request, with the status that HTTP has for it", () => {
    expect(new Problem("misdirected", "Not here.").toJSON()).toMatchObject({
      type: "urn:tidemark:error:invalid_request",
      code: "invalid_request",
      status: 421,
    })
  })

  it.each([
    [400, ["invalid_json", "invalid_parameter", "invalid_idempotency_key"]],
    [401, ["unauthorized", "invalid_signature", "stale_signature"]],
    [403, ["insufficient_scope", "everything_not_allowed"]],
    [404, ["not_found", "unknown_source"]],
    [405, ["method_not_allowed"]],
    [413, ["body_too_large"]],
    [421, ["misdirected"]],
    [
      422,
      [
        "invalid_request",
        "unknown_namespace",
        "outside_namespace",
        "too_many_selectors",
        "idempotency_key_reused",
      ],
    ],
    [429, ["rate_limited"]],
    [500, ["internal"]],
    [501, ["not_supported"]],
    [503, ["store_unavailable", "misconfigured"]],
  ])("has status %i for %j", (status, codes) => {
    const found = Object.entries(PROBLEMS).filter(([, problem]) => problem.status === status)
    expect(found.map(([code]) => code)).toEqual(codes)
  })

  it("that nobody meant tells nothing of its cause", () => {
    const { problem, body } = problemParts(new Error("redis://user:hunter2@10.0.0.1 refused"))
    expect(problem.status).toBe(500)
    expect(body).not.toContain("hunter2")
  })
})

it.each([
  [[], ""],
  [["tags", 0], "/tags/0"],
  [["namespaces", "catalog/products", "a~b", ""], "/namespaces/catalog~1products/a~0b/"],
])("the pointer to %j is %j", (path, text) => expect(pointer(path)).toBe(text))
