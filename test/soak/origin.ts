import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { tagHeader, varnish } from "../../client/tags.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import { type CacheName, pathOf, tagOf } from "./settings.ts"

export interface OriginOptions {
  readonly pages: number
  /** How long one answer is held at most. */
  readonly hold: Milliseconds
  /** Drawn for each read: how long its answer takes. */
  readonly slowness?: () => Milliseconds
}

/** Holds answers back, so that a read which began before a change ends after its purge. */
export interface Hold {
  /** Resolves when each cache has a read that waits. */
  readonly caught: Promise<void>
  /** From now on reads are answered at once; those that wait go on waiting. */
  close(): void
  release(): void
}

interface Page {
  version: number
  /** What its read API still answers, and until when. */
  old: { readonly version: number; readonly until: Milliseconds } | undefined
  hold: Armed | undefined
  readonly reads: Record<CacheName, Reads>
}

interface Armed {
  readonly released: Promise<void>
  catch(cache: CacheName): void
}

/** A CMS and what reads it: versions of pages, which only rise. What is read is decided when the read arrives. */
export class Origin {
  readonly #pages: Page[]
  readonly #options: OriginOptions
  readonly #server = createServer((request, response) => void this.#answer(request, response))
  #url = ""
  #held = 0

  constructor(options: OriginOptions) {
    this.#options = options
    this.#pages = Array.from({ length: options.pages }, () => ({
      version: 1,
      old: undefined,
      hold: undefined,
      reads: { "Worker cache": new Reads(), Varnish: new Reads() },
    }))
  }

  get url(): string {
    return this.#url
  }

  /** Answers that were held. */
  get held(): number {
    return this.#held
  }

  get pages(): number {
    return this.#pages.length
  }

  async start(): Promise<void> {
    await new Promise<void>((listening) => this.#server.listen(0, "127.0.0.1", listening))
    this.#url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async stop(): Promise<void> {
    const closed = new Promise((done) => this.#server.close(done))
    this.#server.closeAllConnections()
    await closed
  }

  versionOf(page: number): number {
    return this.#page(page).version
  }

  /** Gives a page its next version. Reads go on answering the one before for `lag`. */
  change(page: number, lag: Milliseconds): { readonly version: number; readonly visibleAt: Milliseconds } {
    const it = this.#page(page)
    const now = Date.now()
    it.old = lag > 0 ? { version: readable(it, now), until: now + lag } : undefined
    it.version += 1
    return { version: it.version, visibleAt: now + lag }
  }

  hold(page: number): Hold {
    const it = this.#page(page)
    const released = Promise.withResolvers<void>()
    const caught = Promise.withResolvers<void>()
    const missing = new Set<CacheName>(["Worker cache", "Varnish"])
    const armed: Armed = {
      released: released.promise,
      catch(cache) {
        missing.delete(cache)
        if (missing.size === 0) caught.resolve()
      },
    }
    it.hold = armed
    const close = () => {
      if (it.hold === armed) it.hold = undefined
    }
    return {
      caught: caught.promise,
      close,
      release() {
        close()
        released.resolve()
      },
    }
  }

  /** When a cache's last read of anything older than a version was answered; infinite while one is not. */
  lastOldRead(cache: CacheName, page: number, version: number): Milliseconds {
    return this.#page(page).reads[cache].lastBelow(version)
  }

  #page(page: number): Page {
    const found = this.#pages[page]
    if (!found) throw new RangeError(`there is no page ${page}`)
    return found
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const page = Number(/^\/p\/(\d+)$/.exec(request.url ?? "")?.[1] ?? NaN)
    const it = this.#pages[page]
    if (!it) {
      response.writeHead(404).end()
      return
    }
    const cache: CacheName = request.headers["x-varnish"] === undefined ? "Worker cache" : "Varnish"
    const version = readable(it, Date.now())
    const reads = it.reads[cache]
    reads.begin(version)
    response.once("close", () => reads.end(version, Date.now()))
    const slowness = this.#options.slowness?.() ?? 0
    if (slowness > 0) await sleep(slowness)
    if (it.hold) {
      this.#held += 1
      it.hold.catch(cache)
      await Promise.race([it.hold.released, sleep(this.#options.hold)])
    }
    response.writeHead(200, {
      "content-type": "application/json",
      "cache-control": "public, s-maxage=3600",
      ...(cache === "Varnish" ? { xkey: labelsOf(page).join(" ") } : {}),
    })
    response.end(JSON.stringify({ page, version }))
  }
}

const readable = ({ version, old }: Page, now: Milliseconds): number =>
  old !== undefined && now < old.until ? old.version : version

/** A page's labels as Varnish is told them. */
export const labelsOf = (page: number): string[] =>
  (tagHeader("blog", [tagOf(page), "type-page"], varnish).headers["xkey"] ?? "").split(" ")

/** A page's path, by which it is purged alone. */
export const isPath = (page: number, path: string): boolean => pathOf(page) === path

const MAX_REMEMBERED = 64

/** One cache's reads of one page: which versions are on their way, and when the last of each was answered. */
class Reads {
  readonly #underWay = new Map<number, number>()
  readonly #answered = new Map<number, Milliseconds>()

  begin(version: number): void {
    this.#underWay.set(version, (this.#underWay.get(version) ?? 0) + 1)
  }

  end(version: number, at: Milliseconds): void {
    const left = (this.#underWay.get(version) ?? 1) - 1
    if (left === 0) this.#underWay.delete(version)
    else this.#underWay.set(version, left)
    this.#answered.set(version, at)
    if (this.#answered.size <= MAX_REMEMBERED) return
    const [oldest = version, next = version] = [...this.#answered.keys()].toSorted((a, b) => a - b)
    const last = Math.max(this.#answered.get(oldest) ?? 0, this.#answered.get(next) ?? 0)
    this.#answered.delete(oldest)
    this.#answered.set(next, last)
  }

  lastBelow(version: number): Milliseconds {
    for (const one of this.#underWay.keys()) if (one < version) return Number.POSITIVE_INFINITY
    let last = 0
    for (const [one, at] of this.#answered) if (one < version) last = Math.max(last, at)
    return last
  }
}

const sleep = (length: Milliseconds): Promise<void> => new Promise((done) => setTimeout(done, length).unref())
