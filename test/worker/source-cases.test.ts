import { randomUUID } from "node:crypto"
import { afterAll, beforeAll, expect, test } from "vitest"
import { SOURCE_TRAITS, type SourceType } from "../../protocol/config/source-options.ts"
import { SELECTOR_LISTS } from "../../protocol/invalidation.ts"
import cases from "../fixtures/source-cases.json" with { type: "json" }
import { sourceOfDocs } from "../support/docs-source.ts"
import { type Edge, startEdge } from "../support/edge.ts"
import { send } from "../support/senders.ts"

/** What senders really send, signed as they sign, at a real Worker with the rules of each docs page. */

interface Case {
  readonly id: string
  readonly source: SourceType
  readonly name: string
  readonly query?: string
  readonly headers?: Readonly<Record<string, string>>
  /** As JSON, or `text` as it is. */
  readonly body?: unknown
  readonly text?: string
  readonly unsigned?: boolean
  /** Headers of a second delivery of the same bytes, which is the one that is judged. */
  readonly then?: Readonly<Record<string, string>>
  /** A pattern over what was invalidated, a line each; or that nobody knows what is right. */
  readonly should: string
}

const CASES = cases as readonly Case[]

const HEX = "5".repeat(64)
const WHSEC = `whsec_${Buffer.alloc(24, 7).toString("base64")}`

const secretOf = (type: SourceType): string =>
  ["standard-webhooks", "svix", "payload"].includes(type) ? WHSEC : HEX

/** As the docs show it, in namespaces that hold the addresses of the docs. */
const sourceFor = async (type: SourceType) => ({
  ...(await sourceOfDocs(type)),
  secret: { secret: secretOf(type) === WHSEC ? "WHSEC" : "HEX" },
})

const types = [...new Set(CASES.map(({ source }) => source))]
let edge: Edge
let auths: Readonly<Record<string, string | undefined>>

beforeAll(async () => {
  const sources = Object.fromEntries(
    await Promise.all(types.map(async (type) => [type, await sourceFor(type)] as const)),
  )
  auths = Object.fromEntries(types.map((type) => [type, sources[type]?.auth]))
  const hosts = { hosts: ["www.example.com", "docs.example.com", "blog.example.com", "shop.example.com"] }
  edge = await startEdge({
    config: { namespaces: { blog: hosts, catalog: hosts, docs: hosts, www: hosts, shop: hosts }, sources },
    scopes: { reader: ["read:*"] },
    secrets: { HEX, WHSEC },
  })
})
afterAll(() => edge.stop())

/** What became of a delivery, one line an invalidation. */
async function comes({ source, unsigned, query = "" }: Case, headers: Case["headers"], text: string) {
  const path = `/v1/hooks/${source}${query === "" ? "" : `?${query.replace(/^\?/, "")}`}`
  const body = new TextEncoder().encode(text)
  const auth = auths[source]
  const request = unsigned
    ? { path, headers: { ...headers }, body }
    : await send(source, {
        secret: secretOf(source),
        path,
        body,
        now: Date.now(),
        ...(headers ? { headers } : {}),
        ...(auth === undefined ? {} : { auth }),
      })
  const response = await fetch(edge.url + request.path, {
    method: "POST",
    headers: request.headers,
    body: request.body,
  })
  const answer = (await response.json()) as { epochs?: number[] }
  expect([response.status, answer]).toEqual([200, expect.anything()])
  const token = edge.tokens["reader"] ?? ""
  const records = await Promise.all(
    (answer.epochs ?? []).map(
      async (epoch) => (await edge.call("GET", `/v1/invalidations/${epoch}`, { token })).json,
    ),
  )
  return records
    .map((record) => {
      const selectors = SELECTOR_LISTS.flatMap((list) => (record[list] as string[] | undefined) ?? [])
      const named = selectors.length === 0 ? "(whole)" : selectors.join(" ")
      return `${record.mode === "purge" ? "purge " : ""}${named}`
    })
    .join("\n")
}

test("every source of the cases is one that there is", () => {
  expect(types.filter((type) => !Object.hasOwn(SOURCE_TRAITS, type))).toEqual([])
})

test.for(CASES)("$id $source: $name", async (each) => {
  const text = (each.text ?? JSON.stringify(each.body)).replaceAll("RANDOM", randomUUID())
  const first = await comes(each, each.headers, text)
  const judged = each.then ? await comes(each, { ...each.headers, ...each.then }, text) : first
  if (each.should === "unconfirmed") return
  expect(judged).toMatch(new RegExp(each.should))
})
