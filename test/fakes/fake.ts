import type { Milliseconds } from "../../protocol/time.ts"

/** One request as a vendor received it. */
export interface Received {
  readonly method: string
  readonly url: string
  readonly headers: Headers
  readonly body: string
}

export type Vendor = (request: Received) => Response | Promise<Response>

export interface FakeOptions {
  /** The vendor's own clock. */
  readonly now: () => Milliseconds
  /** Without the vendor's limits on how often it may be asked; those on how much at once stay. */
  readonly isUnlimited?: boolean
}

/** What a visitor was served. */
export interface Served {
  /** How often the page had been made anew when this copy of it was: 1 for the first. */
  readonly version: number
  readonly how: "hit" | "stale" | "miss"
}

/**
 * A vendor that we cannot reach, as its documentation has it and no more lenient: methods, paths, headers, signatures,
 * bodies, sizes, alphabets and limits. It has a cache, which serves pages until they are purged. Written from the
 * facts, never from the driver: what the driver imports, it does not. Runs in Node and in workerd.
 *
 * A value that holds "poison" is not to its liking, in whatever way it says so; a batch with one is refused as it would
 * be. Credentials that are wrong are refused too, and neither is complained of.
 */
export interface Fake {
  /** The vendor's API, by its real addresses. */
  handle(request: Received): Promise<Response>
  /** The cache behind it. */
  readonly cache: FakeCache
  /** What nobody would send who keeps to the documentation, a sentence each. */
  readonly complaints: readonly string[]
  /** Calls that were taken, each with how many values it named. */
  readonly taken: readonly number[]
  /** Calls that were refused because there were too many. */
  readonly limited: number
  /** What the vendor can find fault with in whoever asks, by a name each. */
  readonly faults: Faults
  /** The one of them that it answers every call by, whatever is asked; undefined: none. */
  fault: string | undefined
}

/** An answer about who asks, and not about what is asked. */
export interface Fault {
  readonly answer: () => Response
  /** The options that may have to be mended. */
  readonly mend: readonly string[]
}
export type Faults = Readonly<Record<string, Fault>>

/** The cache of a site, by the rules of one vendor. Every page there is is made anew whenever it is fetched. */
export class FakeCache {
  readonly #labelled: (url: string) => string | undefined
  readonly #separator: RegExp
  readonly #rules: { readonly foldsCase: boolean; readonly maxLabels: number; readonly maxBytes: number }
  readonly #headers = new Map<string, string>()
  readonly #made = new Map<string, number>()
  readonly #copies = new Map<
    string,
    { readonly version: number; readonly labels: ReadonlySet<string>; isStale: boolean }
  >()

  constructor(rules: {
    /** Between the labels of the header; a vendor that knows no labels says nothing. */
    readonly separator?: "," | ", " | " "
    readonly foldsCase?: boolean
    readonly maxLabels?: number
    readonly maxBytes?: number
  }) {
    const { separator, foldsCase = false, maxLabels = 1_000, maxBytes = 16_384 } = rules
    this.#separator = separator === " " ? / +/ : new RegExp(separator ?? ",")
    this.#labelled = (url) => (separator === undefined ? undefined : this.#headers.get(url))
    this.#rules = { foldsCase, maxLabels, maxBytes }
  }

  /** What the origin says in the vendor's tag header of a page. */
  label(url: string, header: string): void {
    this.#headers.set(new URL(url).href, header)
  }

  visit(address: string): Served {
    const url = new URL(address).href
    const copy = this.#copies.get(url)
    if (copy && !copy.isStale) return { version: copy.version, how: "hit" }
    const version = (this.#made.get(url) ?? 0) + 1
    this.#made.set(url, version)
    this.#copies.set(url, { version, labels: this.#labelsOf(url), isStale: false })
    // What is only stale is served once more, while it is fetched anew.
    return copy ? { version: copy.version, how: "stale" } : { version, how: "miss" }
  }

  /** Removes copies, or marks them stale; how many. Labels are as a purge names them. */
  purge(
    how: "soft" | "hard",
    of: (page: { readonly url: URL; has(label: string): boolean }) => boolean,
  ): number {
    let count = 0
    for (const [url, copy] of this.#copies) {
      const has = (label: string) => copy.labels.has(this.#fold(label))
      if (!of({ url: new URL(url), has })) continue
      count += 1
      if (how === "hard") this.#copies.delete(url)
      else copy.isStale = true
    }
    return count
  }

  #labelsOf(url: string): ReadonlySet<string> {
    const { maxBytes, maxLabels } = this.#rules
    const header = (this.#labelled(url) ?? "").slice(0, maxBytes)
    const labels = header.split(this.#separator).map((label) => this.#fold(label.trim()))
    return new Set(labels.filter((label) => label !== "").slice(0, maxLabels))
  }

  #fold(label: string): string {
    return this.#rules.foldsCase ? label.toLowerCase() : label
  }
}

/** Tokens as a vendor counts them, on its own clock. */
export class TokenBucket {
  readonly #perSecond: number
  readonly #burst: number
  readonly #now: () => Milliseconds
  #tokens: number
  #at: Milliseconds

  constructor(perSecond: number, burst: number, { now, isUnlimited = false }: FakeOptions) {
    this.#perSecond = isUnlimited ? Number.POSITIVE_INFINITY : perSecond
    this.#burst = isUnlimited ? Number.POSITIVE_INFINITY : burst
    this.#now = now
    this.#tokens = this.#burst
    this.#at = now()
  }

  get tokens(): number {
    const passed = Math.max(0, this.#now() - this.#at)
    return passed === 0
      ? this.#tokens
      : Math.min(this.#burst, this.#tokens + (passed * this.#perSecond) / 1_000)
  }

  /** Whether there were so many; what is refused takes none. The smallest part of a token is forgiven to arithmetic. */
  take(wanted = 1): boolean {
    const tokens = this.tokens
    if (tokens + 1e-6 < wanted) return false
    this.#tokens = tokens - wanted
    this.#at = this.#now()
    return true
  }
}

/** What is under way at a vendor for a while, on its own clock. */
export class InProgress {
  readonly #most: number
  readonly #lasting: Milliseconds
  readonly #now: () => Milliseconds
  #running: { readonly until: Milliseconds; readonly count: number }[] = []

  constructor(most: number, lasting: Milliseconds, { now, isUnlimited = false }: FakeOptions) {
    this.#most = isUnlimited ? Number.POSITIVE_INFINITY : most
    this.#lasting = lasting
    this.#now = now
  }

  take(wanted = 1): boolean {
    const now = this.#now()
    this.#running = this.#running.filter(({ until }) => until > now)
    const sum = this.#running.reduce((total, { count }) => total + count, 0)
    if (sum + wanted > this.#most) return false
    this.#running.push({ until: now + this.#lasting, count: wanted })
    return true
  }
}

/** Thrown within a fake: what it answers, and whether nobody should have sent that. */
export class Refusal extends Error {
  readonly response: Response
  readonly isComplaint: boolean

  constructor(complaint: string, response: Response) {
    super(complaint)
    this.response = response
    this.isComplaint = true
  }
}

/** The parts that every fake shares: what is thrown becomes an answer, and what was wrong is remembered. */
export class FakeBase {
  readonly complaints: string[] = []
  readonly taken: number[] = []
  limited = 0
  readonly faults: Faults = {}
  fault: string | undefined = undefined

  /** @param isCall false for what comes before a call, such as asking for an access token: no fault is found with it */
  protected async answer(request: () => Promise<Response> | Response, isCall = true): Promise<Response> {
    try {
      if (isCall && this.fault !== undefined) {
        const fault = this.faults[this.fault]
        if (!fault) throw new Error(`no such fault: ${this.fault}`)
        return fault.answer()
      }
      return await request()
    } catch (error) {
      if (error instanceof Refusal) {
        this.complaints.push(error.message)
        return error.response
      }
      this.complaints.push(String(error))
      return new Response("the fake failed", { status: 599 })
    }
  }
}
