import { describe, expect, it } from "vitest"
import type { Mode } from "../../protocol/invalidation.ts"
import { TAG_RULES, type TagCache, type TagRules } from "../../protocol/tag-rules.ts"
import type { Fake, Received, Served, Vendor } from "../../test/fakes/fake.ts"
import { cut } from "../batches.ts"
import { findDriver } from "./list.ts"
import type { Batch, Capabilities, Driver, Kind, Value } from "./target.ts"

/** What the lane relies on of every driver, held against a vendor that takes nothing it does not document. */

export type { Received, Vendor }

/** A transport that ends at a vendor in this process, and what went through it. */
export interface Transport {
  readonly fetch: typeof fetch
  readonly received: readonly Received[]
  /** Bytes of answers that were read. */
  readonly read: () => number
  /** Bodies of answers that were neither drained nor cancelled. */
  readonly open: () => number
}

/** What a driver's test says of it. */
export interface Subject {
  /** A driver with a valid configuration, on this transport. */
  readonly create: (fetch: typeof globalThis.fetch) => Driver
  readonly capabilities: Capabilities
  /** Takes what the vendor documents, and refuses everything else as the vendor would. */
  readonly vendor: Vendor
  /** How the vendor says that it does not know the credentials. */
  readonly unauthorised: () => Response
  /** How it says that a value is not to its liking. */
  /** Undefined where none can be at fault: a mirror is written as a whole. */
  readonly refused: (() => Response) | undefined
  /** Requests that one batch becomes, here: one, or one a node. */
  readonly requests: number
  /** The same for kinds that take more. */
  readonly requestsOf?: Readonly<Partial<Record<Kind, number>>>
  /** Statuses that are success here besides 2xx, such as for what was not cached. */
  readonly alsoAccepts?: readonly number[]
  /** Requests that are no purge, as for an access token: `vendor` answers them in every test, and none counts them. */
  readonly isAside?: (request: Received) => boolean
  /** What must show up in no outcome. */
  readonly secrets: readonly string[]
}

export const NOW = Date.UTC(2026, 10, 20, 12, 0, 0)

export const FAST = {
  id: "b-1",
  tenant: "default",
  epochs: { first: 1_795_000_000_000_000, last: 1_795_000_001_500_000 },
}

/** What a configuration says of every target, as it is read. */
export const SHARED = {
  namespaces: ["*"],
  tenants: ["default"],
  allowEverything: false,
  onUnsupported: "widen" as const,
  window: 0,
  timeout: 10_000,
}

/** Normalised values of each kind, as the plan hands them over. */
const SAMPLES: Readonly<Record<Kind, (index: number) => string>> = {
  tag: (index) => `post-${index}`,
  url: (index) => `https://www.example.com/blog/${index}?page=2`,
  prefix: (index) => `https://www.example.com/blog/${index}/`,
  host: (index) => `www${index}.example.com`,
  namespace: (index) => `blog/${index}`,
  everything: () => "*",
}
const KINDS: readonly Kind[] = ["tag", "url", "prefix", "host", "namespace", "everything"]
const MODES: readonly Mode[] = ["invalidate", "purge"]

export const valueOf = (kind: Kind, value: string): Value => ({ kind, value, namespaces: ["blog"] })

/** A batch of one kind with as many sample values as asked for; another one has another id, as in earnest. */
export const sample = (kind: Kind, mode: Mode, count = 1): Batch => ({
  ...FAST,
  id: `${FAST.id}-${mode}-${kind}-${count}`,
  mode,
  values: Array.from({ length: count }, (_, index) => valueOf(kind, SAMPLES[kind](index))),
})

/** The same with as many of them as one call may carry. */
function fullest(capabilities: Capabilities, kind: Kind, mode: Mode): Batch {
  const { values } = sample(kind, mode, capabilities.kinds[kind]?.batch ?? 1)
  const items = values.map((each) => ({ ...each, meant: each.value, mode, epochs: [FAST.epochs.first] }))
  return sample(kind, mode, cut(items, capabilities)[0]?.items.length ?? 1)
}

/**
 * A transport to `vendor` that insists on what every driver must ask of `fetch`.
 *
 * @param aside what is answered by another than the vendor of this test, and not counted
 */
export function transportTo(
  vendor: Vendor,
  aside?: { readonly isAside: (request: Received) => boolean; readonly vendor: Vendor },
): Transport {
  const received: Received[] = []
  let read = 0
  let open = 0
  /** A body that tells how much of it was taken, and breaks off with the attempt, as a connection does. */
  const watched = (
    source: ReadableStream<Uint8Array>,
    signal: AbortSignal,
    isCounted: boolean,
  ): ReadableStream<Uint8Array> => {
    const reader = source.getReader()
    open += 1
    return new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          const aborted = new Promise<never>((_, reject) => {
            signal.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")), {
              once: true,
            })
          })
          const { done, value } = await Promise.race([reader.read(), aborted]).catch((error: unknown) => {
            open -= 1
            throw error
          })
          if (done) {
            open -= 1
            controller.close()
          } else {
            if (isCounted) read += value.length
            controller.enqueue(value)
          }
        },
        async cancel(reason) {
          open -= 1
          await reader.cancel(reason)
        },
      },
      { highWaterMark: 0 },
    )
  }
  async function fetch(this: unknown, input: unknown, init: RequestInit = {}): Promise<Response> {
    const { signal } = init
    expect(this, "fetch was called as a method").toBeUndefined()
    expect(init.redirect).toBe("manual")
    if (!signal) throw new Error("a driver passes the signal on")
    signal.throwIfAborted()
    const request = {
      method: init.method ?? "GET",
      url: String(input),
      headers: new Headers(init.headers),
      body: typeof init.body === "string" ? init.body : "",
    }
    const isAside = aside?.isAside(request) ?? false
    if (!isAside) received.push(request)
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")), {
        once: true,
      })
    })
    const answering = isAside && aside ? aside.vendor(request) : vendor(request)
    const response = await Promise.race([answering, aborted])
    const { status, headers, body } = response
    return new Response(body && watched(body, signal, !isAside), { status, headers })
  }
  return { fetch, received, read: () => read, open: () => open }
}

export const soon = (): AbortSignal => AbortSignal.timeout(5_000)

const never = (): Promise<never> => new Promise(() => {})

/** An answer of 16 KiB chunks without an end. */
function endless(status: number): Response {
  const chunk = new TextEncoder().encode("x".repeat(16 * 1024))
  return new Response(new ReadableStream({ pull: (controller) => controller.enqueue(chunk) }), { status })
}

const answers = (status: number, headers: Record<string, string> = {}): Vendor => {
  const body = [204, 304].includes(status) ? null : "some words"
  return () => new Response(body, { status, headers })
}

/** Many words on many lines. */
const long: Vendor = () => {
  const errors = [{ code: 1_000, message: "long\r\n".repeat(1_000) }]
  return new Response(JSON.stringify({ success: false, errors, result: null }), { status: 400 })
}

/** What stands before a vendor now and then: a captive portal, a log-in page, a proxy, a site at the wrong address. */
const PAGE = `<!DOCTYPE html>
<html lang="en"><head><title>Sign in</title></head><body><form method="post"></form></body></html>`
const pages = (status: number): readonly Vendor[] =>
  ["text/html; charset=utf-8", "application/json", "text/plain"].map(
    (type) => () => new Response(PAGE, { status, headers: { "content-type": type } }),
  )

/** Every 4xx that has a meaning somewhere, but for 408 and 429, which are about the vendor, and 422. */
const REFUSALS = [
  400, 401, 402, 403, 404, 405, 406, 407, 409, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 423, 424,
  425, 426, 428, 431, 451, 499,
]

/** Nodes of one's own, which have no words by which to know them: their own tests say what each status means there. */
const NODES: readonly string[] = ["varnish", "nginx", "souin"]

/** A vendor that repeats what it was sent, and what it should not know, in the words of every vendor there is. */
const echoes =
  (status: number, secrets: readonly string[]): Vendor =>
  ({ url, headers, body }) => {
    const words = `you sent ${url} ${[...headers].join()} ${body} and ${secrets.join()}`
    const error = { code: 1, message: words, status: words, errors: [{ reason: words, message: words }] }
    const names = ["title", "detail", "msg", "reason", "message", "Message", "ErrorKey", "description"]
    const said = {
      ...Object.fromEntries(names.map((name) => [name, words])),
      status: "error",
      success: false,
      error,
      errors: [{ code: 1, message: words }],
      result: null,
    }
    return Response.json(said, { status })
  }

/** Runs what every driver must hold. Each driver's test calls it, then adds what is its own. */
export function describeDriver(name: string, subject: () => Subject): void {
  const { create, capabilities, vendor, unauthorised, refused, requests, requestsOf, secrets, isAside } =
    subject()
  const { alsoAccepts = [] } = subject()
  const offered = KINDS.flatMap((kind) =>
    (capabilities.kinds[kind]?.modes ?? []).map((mode) => ({ kind, mode })),
  )
  const missing = KINDS.flatMap((kind) => MODES.map((mode) => ({ kind, mode }))).filter(
    (each) => !offered.some(({ kind, mode }) => kind === each.kind && mode === each.mode),
  )
  const { kind: anyKind, mode: anyMode } = offered[0] ?? { kind: "tag" as const, mode: "purge" as const }
  const batch = sample(anyKind, anyMode)

  /** The outcome of one batch at a vendor, with what must hold of every outcome. */
  async function outcomeAt(answer: Vendor, signal: AbortSignal = soon(), of: Batch = batch) {
    const transport = transportTo(answer, isAside && { isAside, vendor })
    const outcome = await create(transport.fetch).purge(of, signal)
    for (const secret of secrets) expect(JSON.stringify(outcome)).not.toContain(secret)
    expect(transport.open(), "bodies left open").toBe(0)
    return { outcome, transport }
  }
  describe(`driver: ${name}`, () => {
    it("is listed under the name of its file", () => expect(findDriver(name)?.type).toBe(name))

    it("offers something", () => expect(offered).not.toEqual([]))

    it.each(offered)(
      "has a $mode by $kind accepted, alone and with all that one call may carry",
      async ({ kind, mode }) => {
        for (const each of [sample(kind, mode), fullest(capabilities, kind, mode)]) {
          const { outcome, transport } = await outcomeAt(vendor, soon(), each)
          expect(outcome).toMatchObject({ outcome: "accepted" })
          expect(outcome.outcome === "accepted" && outcome.status).toSatisfy(
            (status) => (status >= 200 && status < 300) || alsoAccepts.includes(status),
          )
          expect(transport.received).toHaveLength(requestsOf?.[kind] ?? requests)
        }
      },
    )

    it("sends nothing where it cannot do what is asked", async () => {
      for (const { kind, mode } of missing) {
        const { outcome, transport } = await outcomeAt(vendor, soon(), sample(kind, mode))
        expect(outcome.outcome, `${mode} by ${kind}`).toBe("unsupported")
        expect(transport.received).toEqual([])
      }
    })

    it("has the same batch accepted twice", async () => {
      const driver = create(transportTo(vendor).fetch)
      const first = await driver.purge(batch, soon())
      const second = await driver.purge(batch, soon())
      expect([first.outcome, second.outcome]).toEqual(["accepted", "accepted"])
    })

    it("may be asked concurrently", async () => {
      const driver = create(transportTo(vendor).fetch)
      const all = await Promise.all(Array.from({ length: 20 }, () => driver.purge(batch, soon())))
      expect(new Set(all.map(({ outcome }) => outcome))).toEqual(new Set(["accepted"]))
    })

    it("asks once, whatever the answer", async () => {
      const { transport } = await outcomeAt(answers(503))
      expect(transport.received).toHaveLength(requests)
    })

    it.each([408, 429, 500, 502, 503, 504, 520, 599])("calls a %d trouble", async (status) => {
      const { outcome } = await outcomeAt(answers(status))
      expect(outcome).toMatchObject({ outcome: "trouble", status })
      expect(outcome).not.toHaveProperty("retryAfter")
    })

    it.each([301, 302, 303, 304, 307, 308])("calls a %d trouble and does not follow it", async (status) => {
      const { outcome, transport } = await outcomeAt(
        answers(status, { location: "https://elsewhere.example/" }),
      )
      expect(outcome).toMatchObject({ outcome: "trouble", status })
      expect(transport.received).toHaveLength(requests)
    })

    it.each([
      ["7", 7_000],
      ["0", 0],
      ["Fri, 20 Nov 2026 12:01:30 GMT", 90_000],
      ["Friday, 20-Nov-26 12:01:30 GMT", 90_000],
      ["Fri Nov 20 12:01:30 2026", 90_000],
      ["Fri, 20 Nov 2026 11:59:00 GMT", 0],
      ["soon", undefined],
      ["-5", undefined],
    ])("reads Retry-After: %s", async (text, retryAfter) => {
      for (const status of [429, 503]) {
        const { outcome } = await outcomeAt(answers(status, { "retry-after": text }))
        expect(outcome.outcome === "trouble" && outcome.retryAfter).toBe(retryAfter)
      }
    })

    it("tells credentials that are not taken from a batch that is not", async () => {
      expect((await outcomeAt(unauthorised)).outcome.outcome).toBe("unauthorised")
      if (refused) expect((await outcomeAt(refused)).outcome.outcome).toBe("refused")
      expect((await outcomeAt(answers(401))).outcome).toMatchObject({ outcome: "unauthorised", status: 401 })
      expect((await outcomeAt(answers(403))).outcome).toMatchObject({ outcome: "unauthorised", status: 403 })
    })

    it("has a call that is too large cut in two, as long as there is something to cut", async () => {
      const most = capabilities.kinds[anyKind]?.batch ?? 1
      const isCut = refused && (most > 1 || NODES.includes(name))
      const { outcome } = await outcomeAt(answers(413), soon(), sample(anyKind, anyMode, Math.min(most, 2)))
      expect(outcome).toMatchObject({ outcome: isCut ? "refused" : "trouble", status: 413 })
    })

    if (!NODES.includes(name)) {
      it("has nothing done by a page, whatever its status and type", async () => {
        for (const status of [200, 201, 202, 203, 206, 422, ...REFUSALS]) {
          for (const page of pages(status)) {
            const { outcome } = await outcomeAt(page)
            expect(["trouble", "unauthorised"], `${status}: ${outcome.outcome}`).toContain(outcome.outcome)
          }
        }
      })

      // A receiver of webhooks has no form, and is taken at its word: its own test says how far.
      if (name !== "http") {
        it("gives nothing up for an answer that is not its vendor's", async () => {
          for (const status of REFUSALS) {
            for (const words of [null, "", "some words", "null", "[]", "{}", '{"ok":false}', '"no"', "7"]) {
              const { outcome } = await outcomeAt(() => new Response(words, { status }))
              expect(["trouble", "unauthorised"], `${status} ${words}: ${outcome.outcome}`).toContain(
                outcome.outcome,
              )
            }
          }
        })
      }

      it("says which options may have to be mended", async () => {
        for (const answer of [unauthorised, answers(401), answers(403)]) {
          const { outcome } = await outcomeAt(answer)
          expect(outcome).toMatchObject({
            outcome: "unauthorised",
            mend: expect.arrayContaining([expect.any(String)]),
          })
        }
      })
    }

    it("repeats no secret, whatever a vendor says", async () => {
      for (const status of [200, 201, 202, 400, 401, 403, 404, 409, 422, 429, 500]) {
        for (const each of sample(anyKind, anyMode).values) {
          await outcomeAt(echoes(status, secrets), soon(), { ...batch, values: [each] })
        }
      }
    })

    it("calls no answer trouble, and says which", async () => {
      const cause = Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" })
      const { outcome } = await outcomeAt(() => Promise.reject(new TypeError("fetch failed", { cause })))
      expect(outcome).toMatchObject({ outcome: "trouble" })
      expect("detail" in outcome && outcome.detail).toContain("ECONNREFUSED")
    })

    it("does not reject where its transport throws, whatever that is", async () => {
      for (const thrown of [undefined, null, "no", new Error(`bad header: ${secrets.join()}`)]) {
        const { outcome } = await outcomeAt(() => Promise.reject(thrown))
        expect(outcome.outcome).toBe("trouble")
      }
    })

    it("ends with the signal: before it began, while it waits, within an answer", async () => {
      const before = await outcomeAt(vendor, AbortSignal.abort())
      expect(before.outcome.outcome).toBe("trouble")
      expect(before.transport.received).toEqual([])
      expect((await outcomeAt(never, AbortSignal.timeout(20))).outcome.outcome).toBe("trouble")
      const stalled = () => new Response(new ReadableStream({ pull: never }), { status: 503 })
      expect((await outcomeAt(stalled, AbortSignal.timeout(20))).outcome.outcome).toBe("trouble")
    })

    it("reads no more of an answer than it needs, and leaves none open", async () => {
      for (const status of [200, 400, 403, 503]) {
        const { transport } = await outcomeAt(() => endless(status))
        expect(transport.read()).toBeLessThanOrEqual(requests * 64 * 1024)
      }
    })

    it("repeats neither secrets nor headers of an answer", async () => {
      for (const status of [200, 400, 401, 403, 429, 503]) {
        const echo: Vendor = ({ headers }) => {
          const message = `you sent ${[...headers].join()} and ${secrets.join()}`
          const body = JSON.stringify({ success: false, errors: [{ code: 1, message }], result: null })
          return new Response(body, {
            status,
            headers: { "x-internal": "not-to-be-told", "set-cookie": "not-to-be-told" },
          })
        }
        const { outcome } = await outcomeAt(echo)
        expect(JSON.stringify(outcome)).not.toContain("not-to-be-told")
      }
    })

    it("keeps its detail short", async () => {
      const { outcome } = await outcomeAt(long)
      if (!("detail" in outcome)) throw new Error("it should not have been accepted")
      expect(outcome.detail.length).toBeLessThan(300)
      expect(outcome.detail).not.toMatch(/[\r\n]/)
    })
  })
}

/** What a driver's test says of a vendor that has a cache. */
export interface CacheSubject extends Omit<Subject, "vendor"> {
  /** The vendor, without its limits on how often it may be asked. */
  readonly fake: () => Fake
  /** How it reads labels. Default: as `TAG_RULES` has it of this type, if it does. */
  readonly rules?: TagRules
}

/** Pages that a purge by a kind concerns, or not, in the order of `SAMPLES`. */
const PAGES: Readonly<Record<Kind, (index: number) => string>> = {
  tag: (index) => `https://www.example.com/tagged/${index}`,
  url: (index) => `https://www.example.com/blog/${index}?page=2`,
  prefix: (index) => `https://www.example.com/blog/${index}/deep/page`,
  host: (index) => `https://www${index}.example.com/any/page`,
  namespace: (index) => `https://www.example.com/tagged/${index}`,
  everything: (index) => `https://www.example.com/page/${index}`,
}

/** Tags that real systems use and some vendor has no room for. */
const ODD_TAGS = ["N*r;L", "t#k[uP", "post:42", "node:12", "a b,c", "naïve", "x".repeat(1_000)]

const rulesOf = (name: string): TagRules | undefined =>
  Object.hasOwn(TAG_RULES, name) ? TAG_RULES[name as TagCache] : undefined

/** As `describeDriver`, and what the vendor's cache then serves. */
export function describeTarget(name: TagCache | (string & {}), subject: () => CacheSubject): void {
  const { fake, rules = rulesOf(name), ...rest } = subject()
  const { create, capabilities } = rest
  describeDriver(name, () => ({ ...rest, vendor: vendorOf(fake()) }))

  const offered = KINDS.filter((kind) => kind !== "namespace").flatMap((kind) =>
    (capabilities.kinds[kind]?.modes ?? []).map((mode) => ({ kind, mode })),
  )

  /** Two pages in the cache, of which the batch is about the first alone. */
  function stage(kind: Kind) {
    const vendor = fake()
    const [page, other] = [PAGES[kind](0), PAGES[kind](1)]
    for (const [index, url] of [page, other].entries()) {
      if (rules)
        vendor.cache.label(url, [rules.codec.encode(SAMPLES.tag(index)), "shared"].join(rules.separator))
      expect(vendor.cache.visit(url)).toEqual({ version: 1, how: "miss" })
      expect(vendor.cache.visit(url)).toEqual({ version: 1, how: "hit" })
    }
    const transport = transportTo(vendorOf(vendor))
    return { vendor, page, other, driver: create(transport.fetch) }
  }
  const purged = async (driver: Driver, batch: Batch): Promise<void> => {
    const outcome = await driver.purge(batch, soon())
    expect(outcome).toMatchObject({ outcome: "accepted" })
  }
  /** As the plan hands it over: tags as labels. */
  const said = ({ values, ...about }: Batch): Batch => ({
    ...about,
    values: values.map((each) =>
      each.kind === "tag" && rules ? { ...each, value: rules.codec.encode(each.value) } : each,
    ),
  })
  const serves = (vendor: Fake, url: string): Served["version"] => vendor.cache.visit(url).version

  describe(`the cache of ${name}`, () => {
    it.each(offered)(
      "serves what a $mode by $kind was about anew, and all else as before",
      async ({ kind, mode }) => {
        const { vendor, page, other, driver } = stage(kind)
        await purged(driver, said(sample(kind, mode)))
        const first = vendor.cache.visit(page)
        if (mode === "purge") expect(first).toEqual({ version: 2, how: "miss" })
        else expect(first).toEqual({ version: 1, how: "stale" })
        expect(serves(vendor, page)).toBe(2)
        expect(vendor.cache.visit(other).how === "hit").toBe(kind !== "everything")
        expect(vendor.complaints).toEqual([])
      },
    )

    if (rules && capabilities.kinds.tag) {
      it.each(ODD_TAGS)("knows %s by the label that the header and the purge share", async (tag) => {
        const { vendor, page, driver } = stage("tag")
        const { codec, separator } = rules
        const label = codec.encode(tag)
        const url = "https://www.example.com/odd"
        vendor.cache.label(url, ["one", label, "two"].join(separator))
        expect(serves(vendor, url)).toBe(1)
        await purged(driver, { ...FAST, mode: "purge", values: [valueOf("tag", label)] })
        expect([serves(vendor, url), serves(vendor, page)]).toEqual([2, 1])
        expect(vendor.complaints).toEqual([])
      })

      it("takes the very labels that the plan writes", () => expect(capabilities.tags).toBe(rules.codec))
    }

    const faults = Object.entries(fake().faults)
    if (faults.length > 0) {
      it.each(faults)("keeps all where the vendor finds fault with %s", async (fault, { mend }) => {
        for (const { kind, mode } of offered) {
          const { vendor, page, driver } = stage(kind)
          vendor.fault = fault
          const outcome = await driver.purge(said(sample(kind, mode)), soon())
          expect(outcome, `${mode} by ${kind}`).toMatchObject({ outcome: "unauthorised" })
          if (kind !== "everything") expect(outcome).toMatchObject({ mend })
          for (const secret of subject().secrets) expect(JSON.stringify(outcome)).not.toContain(secret)
          expect(vendor.cache.visit(page)).toEqual({ version: 1, how: "hit" })
          vendor.fault = undefined
          await purged(driver, said(sample(kind, mode)))
        }
      })
    }

    it("is asked no more than documented by all that one call may carry", async () => {
      for (const { kind, mode } of offered) {
        const { vendor, driver } = stage(kind)
        await purged(driver, said(fullest(capabilities, kind, mode)))
        expect(vendor.complaints).toEqual([])
      }
    })

    it("has a batch with one value that it does not like refused, and nothing of it done", async () => {
      for (const { kind, mode } of offered) {
        if ((capabilities.kinds[kind]?.batch ?? 1) < 2 || kind === "everything") continue
        const { vendor, page, driver } = stage(kind)
        const { values, ...about } = sample(kind, mode, 1)
        const poison = {
          tag: "poison",
          url: "https://www.example.com/poison",
          prefix: "https://www.example.com/poison/",
          host: "poison.example.com",
          namespace: "poison",
          everything: "*",
        }[kind]
        const bad = said({ ...about, values: [...values, valueOf(kind, poison)] })
        const outcome = await driver.purge(bad, soon())
        expect(outcome.outcome, `${mode} by ${kind}`).toBe("refused")
        expect(vendor.cache.visit(page)).toEqual({ version: 1, how: "hit" })
      }
    })
  })
}

const vendorOf =
  (fake: Fake): Vendor =>
  (request) =>
    fake.handle(request)
