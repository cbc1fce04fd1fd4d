import { gzipSync } from "node:zlib"
import * as fc from "fast-check"
import { expect, it, vi } from "vitest"
import type { ConfigInput } from "../protocol/config/schema.ts"
import { SOURCE_TRAITS, type SourceTraits, type SourceType } from "../protocol/config/source-options.ts"
import type { Store } from "../protocol/store.ts"
import { vectorsOf } from "../test/fixtures/vectors.ts"
import { createWorkerWith } from "./create-worker.ts"
import { SOURCES } from "./sources/list.ts"

/**
 * Whatever a stranger sends to the address of a source comes to nothing: no publish, no answer of ours that says that
 * something broke, and none that makes a sender give up for good. In the Node runtime, as it is about volume.
 */
vi.setConfig({ testTimeout: 300_000 })

/** Over all sources; the whole of it within a minute on a slow machine. */
const CASES = 100_000

const SECRET = "a-secret-that-nobody-who-sends-this-knows"

const input: ConfigInput = {
  namespaces: { blog: {} },
  sources: Object.fromEntries(
    SOURCES.map(({ type }) => {
      const { signed }: SourceTraits = SOURCE_TRAITS[type]
      const source = {
        type,
        secret: { secret: "SECRET" },
        namespace: "blog",
        ...(signed ? {} : { auth: "bearer" }),
      }
      return [type, source]
    }),
  ),
}

let scripts = 0
const store: Store = {
  script() {
    scripts += 1
    return Promise.reject(new Error("nothing may be published"))
  },
  pipeline: () => Promise.reject(new Error("nothing may be read")),
}
const broken: unknown[] = []
const worker = createWorkerWith(input, {
  sources: SOURCES,
  targets: [],
  store,
  onError: (problem) => broken.push(problem),
})

const published = vectorsOf(
  ...new Set(SOURCES.map(({ type }) => type)),
  "wp-webhooks",
  "standard-webhooks-v1a",
)
const HEADERS = [
  ...new Set([
    ...published.flatMap(({ headers }) => Object.keys(headers).map((name) => name.toLowerCase())),
    "content-type",
    "content-encoding",
    "authorization",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
  ]),
]

const body = fc.oneof(
  fc.uint8Array({ maxLength: 2_000 }),
  fc.jsonValue({ maxDepth: 3 }).map((value) => new TextEncoder().encode(JSON.stringify(value))),
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Uint8Array.from(gzipSync(bytes))),
  // What somebody really sent, whole or cut off.
  fc
    .tuple(fc.constantFrom(...published.map((vector) => vector.body), "{}"), fc.nat())
    .map(([text, at]) => new TextEncoder().encode(text).slice(0, at % (text.length + 1))),
)
const value = fc.oneof(
  fc.stringMatching(/^[ -~]{0,80}$/),
  fc.constantFrom(
    ...published.flatMap(({ headers }) => Object.values(headers).flatMap((one) => one ?? [])),
    "v1,AAAA",
    "deflate",
    "application/x-www-form-urlencoded; charset=utf-16",
  ),
)
const delivery = fc.record({
  body,
  headers: fc.array(fc.tuple(fc.constantFrom(...HEADERS), value), { maxLength: 8 }),
  query: fc.constantFrom("", "?event=post.published", "?challenge=x", "?secret=x", "?%00"),
})

it.each(SOURCES.map(({ type }) => type))(
  "%s takes nothing from strangers, and nothing breaks",
  async (type: SourceType) => {
    await fc.assert(
      fc.asyncProperty(delivery, async ({ body: bytes, headers: pairs, query }) => {
        const headers = new Headers()
        // Twice, too, as a proxy may.
        for (const [name, text] of pairs) headers.append(name, text)
        const request = new Request(`https://worker.example/v1/hooks/${type}${query}`, {
          method: "POST",
          headers,
          body: bytes,
        })
        const response = await worker.fetch(request, { SECRET })
        // 200 is for a ping, which claims nothing.
        expect([200, 401]).toContain(response.status)
        if (response.status === 200) expect(await response.json()).toMatchObject({ accepted: 0, epochs: [] })
      }),
      { numRuns: Math.ceil(CASES / SOURCES.length) },
    )
    expect([scripts, broken]).toEqual([0, []])
  },
)

it.each(SOURCES.map(({ type }) => type))(
  "%s: a body that is too large is not read to its end",
  async (type) => {
    let read = 0
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        read += 1
        controller.enqueue(new Uint8Array(1024 * 1024))
      },
    })
    const request = new Request(`https://worker.example/v1/hooks/${type}`, {
      method: "POST",
      body: endless,
      duplex: "half",
    } as RequestInit)
    const { status } = await worker.fetch(request, { SECRET })
    const { signed }: SourceTraits = SOURCE_TRAITS[type]
    // What carries a secret outside of its body is known by that, and this one is not known.
    expect(status).toBe(signed ? 413 : 401)
    expect(read).toBeLessThan(signed ? 20 : 10)
    expect(scripts).toBe(0)
  },
)
