import { describe, expect, it } from "vitest"
import type { ConfigInput } from "../protocol/config/schema.ts"
import { SOURCE_TRAITS, type SourceTraits, type SourceType } from "../protocol/config/source-options.ts"
import { type Store, StoreError } from "../protocol/store.ts"
import { type Vector, vectorsOf } from "../test/fixtures/vectors.ts"
import { createWorkerWith } from "./create-worker.ts"
import { SOURCES } from "./sources/list.ts"

/**
 * What every sender is answered, whatever its documents ask for: some retry on anything but a 200 of JSON, some delete
 * the webhook on a 410, and most have only seconds. So a delivery costs its verification and one call to Redis.
 */

/** Providers of `test/fixtures` whose name is not that of their source. */
const PROVIDERS: Readonly<Record<string, readonly string[]>> = {
  "standard-webhooks": ["standard-webhooks", "standard-webhooks-v1a"],
  svix: ["standard-webhooks"],
  wordpress: ["wp-webhooks"],
  payload: ["standard-webhooks"],
}

/** A delivery that is its sender's own. */
interface Sample {
  readonly secret: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly now: number
  readonly source: Readonly<Record<string, unknown>>
}

const ofVector = ({ secret, path, headers, body, clock_ms: clock }: Vector): Sample => ({
  secret,
  path: path ?? "",
  headers: headers as Record<string, string>,
  body,
  now: clock ?? Date.UTC(2026, 0, 1),
  source: {},
})

function sampleOf(type: SourceType): Sample | undefined {
  const { signed }: SourceTraits = SOURCE_TRAITS[type]
  if (!signed) {
    const headers = { authorization: "Bearer s3cret", "content-type": "application/json" }
    return { secret: "s3cret", path: "", headers, body: '{"a":1}', now: 0, source: { auth: "bearer" } }
  }
  const published = vectorsOf(...(PROVIDERS[type] ?? [type])).find(
    ({ valid, secret, public_key_pem: pem }) => valid === true && secret !== null && pem === undefined,
  )
  return published && ofVector(published)
}

const samples = SOURCES.flatMap(({ type }) => {
  const sample = sampleOf(type)
  return sample ? [[type, sample] as const] : []
})

/** A Worker with the one source, over a store that counts what is asked of it. */
function stage(type: SourceType, { secret, now, source, path, headers, body }: Sample) {
  let calls = 0
  let failure: StoreError | undefined
  const counted = async (reply: unknown) => {
    calls += 1
    if (failure) throw failure
    return reply
  }
  const store = {
    script: () => counted(["ok", "1700000000000000 1700000000000001:1"]),
    pipeline: () => counted([]),
  } as unknown as Store
  const input = {
    namespaces: { blog: {} },
    sources: {
      cms: { type, secret: { secret: "SECRET" }, namespace: "blog", otherwise: "namespace", ...source },
    },
  } as ConfigInput
  const worker = createWorkerWith(input, { sources: SOURCES, targets: [], store, now: () => now })
  const hook = path.startsWith("/v1/hooks/")
    ? path.replace(/^\/v1\/hooks\/[^?]+/, "/v1/hooks/cms")
    : "/v1/hooks/cms"
  return {
    calls: () => calls,
    fail: (error: StoreError) => (failure = error),
    post: (
      more: {
        readonly headers?: Record<string, string>
        readonly body?: string
        readonly secret?: string
      } = {},
    ) =>
      worker.fetch(
        new Request(`https://worker.example${hook}`, {
          method: "POST",
          headers: { ...headers, ...more.headers },
          body: more.body ?? body,
        }),
        { SECRET: more.secret ?? secret },
      ),
  }
}

it("there is a delivery to go by of nearly every source", () => {
  const without = SOURCES.map(({ type }) => type).filter((type) => !samples.some(([name]) => name === type))
  expect(without.filter((type) => !UNTRIED.includes(type))).toEqual([])
})

/** Those whose path or keys are part of what is signed, or that publish no delivery: their own tests try them. */
const UNTRIED: readonly string[] = ["contentful", "adobe-io-events", "contentstack"]

describe.each(samples.filter(([type]) => !UNTRIED.includes(type)))("%s", (type, sample) => {
  it("is answered exactly 200, as JSON, after one call to the store", async () => {
    const { post, calls } = stage(type, sample)
    const response = await post()
    expect([response.status, response.headers.get("content-type")]).toEqual([200, "application/json"])
    const { accepted } = (await response.json()) as { accepted: number }
    expect(calls()).toBe(accepted === 0 ? 0 : 1)
  })

  it("is answered 401 for a secret that is not its own, and nothing is asked of the store", async () => {
    const { post, calls } = stage(type, sample)
    const response = await post({ secret: `${sample.secret.slice(0, -4)}AAAA` })
    expect([response.status, calls()]).toEqual([401, 0])
    expect(response.headers.get("content-type")).toBe("application/problem+json")
  })

  it("is answered 503 with Retry-After when it was not stored, so that it is sent again", async () => {
    const { post, fail, calls } = stage(type, sample)
    fail(new StoreError("unreachable", "Redis did not answer"))
    const response = await post()
    if (calls() > 0) expect([response.status, response.headers.get("retry-after")]).toEqual([503, "2"])
    else expect(response.status).toBe(200)
  })
})
