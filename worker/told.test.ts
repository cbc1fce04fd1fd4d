import { describe, expect, test } from "vitest"
import { telling } from "./told.ts"

const HIDDEN = "tm_this-is-what-no-line-may-hold"

async function told(
  request: { readonly path: string; readonly method?: string; readonly body?: string },
  answer: { readonly status: number; readonly body: unknown },
) {
  const lines: unknown[] = []
  let seen = ""
  const worker = {
    async fetch(given: Request) {
      seen = await given.text()
      return Response.json(answer.body, { status: answer.status })
    },
  }
  const { path, method = "POST", body = "{}" } = request
  const response = await telling(worker, (line) => lines.push(JSON.parse(line))).fetch(
    new Request(`https://worker.example${path}`, {
      method,
      headers: { authorization: `Bearer ${HIDDEN}` },
      ...(method === "GET" ? {} : { body }),
    }),
  )
  expect(await response.json()).toEqual(answer.body)
  if (method !== "GET") expect(seen).toBe(body)
  expect(JSON.stringify(lines)).not.toContain(HIDDEN)
  return lines
}

describe("a publish", () => {
  const path = "/v1/invalidations"

  test("tells what was named, the first of many, and what it was accepted as", async () => {
    const body = JSON.stringify({
      namespace: "blog",
      tags: ["a", "b", "c"],
      urls: ["https://www.example.com/"],
    })
    expect(await told({ path, body }, { status: 202, body: { id: "17" } })).toEqual([
      { level: 30, msg: "publish", told: ["blog", "tag a, tag b, tag c and 1 more", "202", "accepted 17"] },
    ])
  })

  test.each([
    ['{"everything":true}', ["everything", "202", "accepted 17"]],
    ['{"namespace":"blog"}', ["blog", "202", "accepted 17"]],
    ['{"invalidations":[{},{}]}', ["2 at once", "202", "accepted 17"]],
    ["no JSON", ["202", "accepted 17"]],
  ])("%s", async (body, line) => {
    expect(await told({ path, body }, { status: 202, body: { id: "17" } })).toMatchObject([{ told: line }])
  })

  test("that is refused tells why", async () => {
    const errors = [{ pointer: "/tags/0", detail: "must not be empty" }]
    const body = { code: "invalid_request", detail: "It is not as it must be.", errors }
    expect(await told({ path, body: '{"namespace":"blog"}' }, { status: 422, body })).toEqual([
      {
        level: 40,
        msg: "publish",
        told: ["blog", "422", "It is not as it must be.", "/tags/0 must not be empty"],
      },
    ])
  })
})

describe("a webhook", () => {
  const path = "/v1/hooks/cms"
  const taken = { accepted: 1, duplicate: false, epochs: [17], notes: [] }

  test.each([
    [taken, ["cms", "200", "accepted 17"]],
    [{ ...taken, duplicate: true }, ["cms", "200", "accepted 17", "again"]],
    [{ ...taken, epochs: [], notes: ["a draft"] }, ["cms", "200", "nothing is invalidated", "a draft"]],
  ])("that is taken: %j", async (body, line) => {
    expect(await told({ path, body: `{"secret":"${HIDDEN}"}` }, { status: 200, body })).toEqual([
      { level: 30, msg: "webhook", told: line },
    ])
  })

  test("that is refused tells why, and nothing of what it carried", async () => {
    const body = { code: "invalid_signature", detail: "No signature is by a secret of this source." }
    expect(await told({ path, body: HIDDEN }, { status: 401, body })).toEqual([
      { level: 40, msg: "webhook", told: ["cms", "401", "No signature is by a secret of this source."] },
    ])
  })

  test("of a query the source alone is told, as it may hold the secret", async () => {
    expect(await told({ path: `${path}?key=${HIDDEN}` }, { status: 200, body: taken })).toMatchObject([
      { told: ["cms", "200", "accepted 17"] },
    ])
  })
})

test.each([
  ["/v1/epochs?ns=blog", "GET"],
  ["/v1/invalidations/17", "GET"],
  ["/v1/invalidations", "GET"],
  ["/v1/explain", "POST"],
  ["/healthz", "GET"],
])("of %s nothing is told", async (path, method) => {
  expect(await told({ path, method }, { status: 200, body: {} })).toEqual([])
})
