import { expect, it } from "vitest"
import { parseConfig } from "../protocol/config/config.ts"
import { secret } from "../protocol/config/define.ts"
import { Problem } from "../protocol/errors.ts"
import type { Publisher } from "../protocol/invalidation.ts"
import { parseInvalidation } from "../protocol/invalidation.ts"
import { explainPublish } from "./explain.ts"
import { judgePublish } from "./judge.ts"
import { findDriver } from "./targets/list.ts"

const config = parseConfig({
  namespaces: { blog: {}, shop: { tagPrefix: "s-" } },
  sources: { cms: { type: "contentful", secret: secret("SECRET"), namespace: "blog" } },
  targets: {
    shared: { type: "fastly", service: "abc", token: secret("TOKEN"), namespaces: ["*"] },
  },
})

function askedBy(by: Publisher, patterns?: readonly string[]) {
  const read = parseInvalidation({ namespace: "blog", tags: ["post-1", "s-ns/shop"], mode: "purge" })
  if ("errors" in read) throw new Error("not readable")
  const defaults = { settle: 0, secondPass: 0 }
  return { tenant: "default", by, invalidations: [read.value], defaults, ...(patterns && { patterns }) }
}

const judge = (by: Publisher, patterns?: readonly string[]) =>
  judgePublish({ config, findDriver }, askedBy(by, patterns), () => ["invalidations", 0])

it("refuses a tag that is a label of others, and names it", () => {
  const [known, unknown] = [["blog"], undefined].map((patterns) => {
    try {
      return judge({ token: "deploy" }, patterns)
    } catch (error) {
      return error
    }
  })
  expect(known).toBeInstanceOf(Problem)
  expect(known).toMatchObject({
    code: "outside_namespace",
    status: 422,
    errors: [
      {
        pointer: "/invalidations/0/tags/1",
        detail: "would be a label of another namespace at the cache of shared",
      },
    ],
  })
  expect(unknown).toEqual(known)
  expect(judge({ token: "deploy" }, ["*"])[0]?.body.tags).toEqual(["post-1", "s-ns/shop"])
})

it("widens a delivery that names one to its namespace, as hard, and says why", () => {
  const note =
    "a tag would be a label of another namespace at the cache of shared: blog is invalidated as a whole"
  expect(judge({ source: "cms" })[0]?.body).toMatchObject({
    namespace: "blog",
    mode: "purge",
    tags: [],
    notes: [note],
  })
  const told = explainPublish({ config, findDriver }, askedBy({ source: "cms" }), () => [])
  expect(told.invalidations).toMatchObject([{ namespace: "blog", tags: [], notes: [note] }])
})
