import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { utf8 } from "../../protocol/bytes.ts"
import type { Resolved } from "../../protocol/config/config.ts"
import type { SourceConfig } from "../../protocol/config/schema.ts"
import { MINUTE, type Milliseconds, SECOND } from "../../protocol/time.ts"
import type { Vector } from "../../test/fixtures/vectors.ts"
import { SOURCES } from "./list.ts"
import type { Delivery, SourceAdapter, SourceContext, Verification } from "./source.ts"

export type { Vector }

/** What a test of a source brings for the suite. */
export interface SourceCases {
  /** Two secrets of the form that the sender gives out. */
  readonly secrets: readonly [string, string]
  /** Signs as the sender does. */
  sign(secret: string, body: string, at: Milliseconds): Promise<Delivery>
  /** Headers whose every byte the signature covers, besides itself. */
  readonly signedHeaders: readonly string[]
  readonly signsPath: boolean
  /** How far from now a signed time may lie; undefined where no time is signed. */
  readonly tolerance?: Milliseconds
  /** Whether the signature may stand there in capitals too. Default false. */
  readonly ignoresCase?: boolean
  /** Whether the body is signed. Default true; not where a delivery only carries a secret. */
  readonly signsBody?: boolean
  /** What the configuration says besides, such as `auth`. */
  readonly options?: Partial<Resolved<SourceConfig>>
  /** Answers for the sender's own addresses. Default: nobody is asked. */
  readonly fetch?: typeof fetch
  /** Changes to a valid delivery that must each be refused, by what they are. */
  readonly spoilt: Readonly<Record<string, (delivery: Delivery) => Delivery>>
  readonly vectors: readonly Vector[]
}

const NOW: Milliseconds = 1_767_225_600_000
const BODY = '{"sys":{"id":"5KsDBWseXY6QegucYAoacS","type":"Entry"},"type":"post.published","data":{"id":7}}'

/** The context of one source with these secrets, at a time. */
export const contextOf = (
  type: SourceConfig["type"],
  secret: string | string[],
  options: Partial<Resolved<SourceConfig>> &
    Partial<Pick<SourceContext, "fetch">> & { readonly at?: Milliseconds } = {},
): SourceContext => {
  const nobody = () => Promise.reject(new Error("nobody is asked here"))
  const { at = NOW, fetch = nobody, ...more } = options
  return {
    config: {
      type,
      secret,
      namespace: "blog",
      tenant: "default",
      otherwise: "ignore",
      legacy: false,
      ...more,
    },
    now: () => at,
    fetch,
  }
}

/** The same delivery with some headers changed; undefined takes one away. */
export function withHeaders(
  delivery: Delivery,
  changes: Readonly<Record<string, string | undefined>>,
): Delivery {
  const headers = new Headers(delivery.headers)
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) headers.delete(name)
    else headers.set(name, value)
  }
  return { ...delivery, headers }
}

const verdictOf = async (verification: Promise<Verification>): Promise<string> => (await verification).verdict

/** Replaces one character by another that a header and a url can hold. */
function mutate(text: string, at: number, by: number): string {
  const index = at % text.length
  const code = 0x21 + ((text.charCodeAt(index) - 0x21 + 1 + (by % 93)) % 94)
  return text.slice(0, index) + String.fromCharCode(code) + text.slice(index + 1)
}

/** What the hook route relies on. Each source's test calls this, then adds its own cases. */
export function describeSource(adapter: SourceAdapter, cases: SourceCases): void {
  const { type } = adapter
  const [secret, other] = cases.secrets
  const { tolerance, signsBody = true, options: own = {} } = cases
  const context = (secrets: string | string[], options: Parameters<typeof contextOf>[2] = {}) =>
    contextOf(type, secrets, { ...own, ...(cases.fetch ? { fetch: cases.fetch } : {}), ...options })
  const verify = async (delivery: Delivery, of = context(secret)) => verdictOf(adapter.verify(delivery, of))

  describe(`source: ${type}`, () => {
    it("is listed, once", () => {
      expect(SOURCES.filter((source) => source.type === type)).toEqual([adapter])
    })

    it("accepts what its sender signed, and any of several secrets", async () => {
      const delivery = await cases.sign(secret, BODY, NOW)
      expect(await verify(delivery)).toBe("verified")
      expect(await verify(delivery, context([secret, other]))).toBe("verified")
      expect(await verify(delivery, context([other, secret]))).toBe("verified")
      expect(await verify(delivery, context(["", "nonsense", secret]))).toBe("verified")
    })

    it("refuses another's secret, and has none where the environment lacks it", async () => {
      const delivery = await cases.sign(secret, BODY, NOW)
      for (const secrets of [other, "", [], ["", other], "nonsense"]) {
        expect(await verify(delivery, context(secrets))).toBe("invalid")
      }
    })

    it.skipIf(tolerance === undefined)("keeps the tolerance, past and future", async () => {
      const signedAt = async (at: Milliseconds) => cases.sign(secret, BODY, at)
      if (tolerance === undefined) return
      expect(await verify(await signedAt(NOW - tolerance))).toBe("verified")
      expect(await verify(await signedAt(NOW + tolerance))).toBe("verified")
      expect(await verify(await signedAt(NOW - tolerance - SECOND))).toBe("stale")
      expect(await verify(await signedAt(NOW + tolerance + SECOND))).toBe("stale")
      const wide = context(secret, { tolerance: 60 * MINUTE })
      expect(await verify(await signedAt(NOW - 59 * MINUTE), wide)).toBe("verified")
      const narrow = context(secret, { tolerance: SECOND })
      expect(await verify(await signedAt(NOW + 2 * SECOND), narrow)).toBe("stale")
    })

    it("tells nobody that a time is wrong whose signature is", async () => {
      const delivery = await cases.sign(other, BODY, NOW - 60 * MINUTE)
      expect(await verify(delivery)).toBe("invalid")
    })

    it("accepts any characters, and an empty body", async () => {
      for (const body of ["\u0000\r\n", "", "ünïcödé 🦊"]) {
        expect(await verify(await cases.sign(secret, body, NOW))).toBe("verified")
      }
    })

    it.skipIf(!signsBody)("refuses a delivery with any byte of its body changed", async () => {
      const delivery = await cases.sign(secret, BODY, NOW)
      const change = fc.tuple(fc.nat({ max: delivery.body.length - 1 }), fc.integer({ min: 1, max: 255 }))
      await fc.assert(
        fc.asyncProperty(change, async ([at, by]) => {
          const body = delivery.body.map((byte, index) => (index === at ? byte ^ by : byte))
          expect(await verify({ ...delivery, body })).toBe("invalid")
        }),
      )
    })

    it("refuses a delivery with any signed header or its signature changed or missing", async () => {
      const delivery = await cases.sign(secret, BODY, NOW)
      const change = fc.tuple(fc.constantFrom(...cases.signedHeaders), fc.nat(), fc.nat())
      await fc.assert(
        fc.asyncProperty(change, async ([name, at, by]) => {
          const value = delivery.headers.get(name)
          expect(value, name).toBeTruthy()
          const changed = mutate(value ?? "", at, by)
          fc.pre(!cases.ignoresCase || changed.toLowerCase() !== value?.toLowerCase())
          expect(await verify(withHeaders(delivery, { [name]: changed }))).toBe("invalid")
        }),
        { numRuns: 300 },
      )
      for (const name of cases.signedHeaders) {
        expect(await verify(withHeaders(delivery, { [name]: undefined })), name).toBe("invalid")
      }
    })

    if (cases.signsPath) {
      it("refuses another path or method", async () => {
        const delivery = await cases.sign(secret, BODY, NOW)
        await fc.assert(
          fc.asyncProperty(fc.nat(), fc.nat(), async (at, by) => {
            expect(await verify({ ...delivery, path: mutate(delivery.path, at, by) })).toBe("invalid")
          }),
        )
        expect(await verify({ ...delivery, method: "PUT" })).toBe("invalid")
      })
    }

    it.for(Object.entries(cases.spoilt))("refuses %s", async ([, spoil]) => {
      const delivery = await cases.sign(secret, BODY, NOW)
      expect(await verify(spoil(delivery))).toBe("invalid")
    })

    it.skipIf(!signsBody)("is given published deliveries", () =>
      expect(cases.vectors.length).toBeGreaterThan(0),
    )

    it.for(cases.vectors)("gives the published verdict: $source ($note)", async (vector) => {
      const headers = new Headers()
      for (const [name, value] of Object.entries(vector.headers))
        if (value !== undefined) headers.set(name, value)
      const delivery: Delivery = {
        method: vector.method ?? "POST",
        path: vector.path ?? "/",
        headers,
        body: utf8(vector.body),
      }
      const at = vector.clock_ms ?? NOW
      const of = context(vector.secret, { at })
      expect((await verify(delivery, of)) === "verified").toBe(vector.valid === true)
      if (typeof vector.valid === "string") {
        expect(await verify(delivery, context(vector.secret, { at, legacy: true }))).toBe("verified")
      }
    })

    it("reads any JSON, any headers and any address without throwing", () => {
      const json = fc.oneof(
        fc.object({ withNullPrototype: true, maxDepth: 4 }),
        fc.jsonValue({ maxDepth: 3 }),
        fc.constant(undefined),
      )
      const headers = fc.dictionary(fc.stringMatching(/^[a-z-]+$/), fc.stringMatching(/^[ -~]*$/))
      fc.assert(
        fc.property(json, headers, fc.webPath(), (body, names, path) => {
          const reading = adapter.read({ body, headers: new Headers(names), path }, context(secret))
          expect(["events", "ignored", "unreadable"]).toContain(reading.reading)
        }),
      )
    })
  })
}
