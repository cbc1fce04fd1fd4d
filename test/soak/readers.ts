import { Agent, request } from "undici"
import type { Milliseconds } from "../../protocol/time.ts"
import { pause } from "./faults.ts"
import type { Random } from "./random.ts"
import type { Sighting } from "./rules.ts"
import { type CacheName, CACHES, pathOf } from "./settings.ts"

/** What a cache answered so far. */
export interface ReadCounts {
  reads: number
  /** Answers out of the cache that it called fresh, and such that it called stale. */
  fresh: number
  stale: number
  /** Answers that were fetched for this request. */
  fetched: number
  /** Answers past the cache, as nothing was known of the epochs. */
  bypassed: number
  /** No answer, or none of 200. */
  failed: number
}

const noReads = (): ReadCounts => ({ reads: 0, fresh: 0, stale: 0, fetched: 0, bypassed: 0, failed: 0 })

const PATIENCE: Milliseconds = 15_000

/** Visitors of both caches. */
export class Readers {
  readonly counts: Record<CacheName, ReadCounts> = { "Worker cache": noReads(), Varnish: noReads() }
  readonly #agent = new Agent({ connections: 64, keepAliveTimeout: 10_000 })
  readonly #caches: Readonly<Record<CacheName, string>>
  readonly #onSighting: (sighting: Sighting) => void

  constructor(caches: Readonly<Record<CacheName, string>>, onSighting: (sighting: Sighting) => void) {
    this.#caches = caches
    this.#onSighting = onSighting
  }

  /** Reads any page of either cache, again and again, until the signal aborts. */
  async wander(pages: number, random: Random, every: Milliseconds, signal: AbortSignal): Promise<void> {
    for (let turn = random.below(2); !signal.aborted; turn += 1) {
      await this.read(turn % 2 === 0 ? "Varnish" : "Worker cache", random.below(pages), signal)
      await pause(random.between(0, 2 * every), signal)
    }
  }

  /** One answer; undefined where there was none. */
  async read(cache: CacheName, page: number, signal?: AbortSignal): Promise<SeenPage | undefined> {
    const counts = this.counts[cache]
    const askedAt = Date.now()
    counts.reads += 1
    try {
      const { statusCode, headers, body } = await request(this.#caches[cache] + pathOf(page), {
        dispatcher: this.#agent,
        signal: AbortSignal.any([AbortSignal.timeout(PATIENCE), ...(signal ? [signal] : [])]),
      })
      const text = await body.text()
      if (statusCode !== 200) {
        counts.failed += 1
        return undefined
      }
      const answeredAt = Date.now()
      const seen = JSON.parse(text) as { page: number; version: number }
      if (seen.page !== page) throw new Error(`${cache} served page ${seen.page} for page ${page}`)
      const status = String(headers["cache-status"] ?? "")
      const isStale =
        cache === "Varnish"
          ? headers["soak-stale"] !== undefined
          : status.includes("detail=stale-while-revalidate")
      const isFetched =
        cache === "Varnish" ? !String(headers["x-varnish"]).includes(" ") : status.includes("fwd=")
      const isBypass = status.includes("fwd=bypass")
      counts[isBypass ? "bypassed" : isFetched ? "fetched" : isStale ? "stale" : "fresh"] += 1
      const storeFailedAt = Number(headers["soak-store-failed-at"] ?? 0)
      this.#onSighting({
        cache,
        page,
        version: seen.version,
        askedAt,
        answeredAt,
        isStale,
        storeFailedAt,
        evidence: status,
      })
      return { version: seen.version, isStale, isBypass, storeFailedAt }
    } catch (error) {
      // The end of the run ends reads under way, which have not failed.
      if (!signal?.aborted) counts.failed += 1
      if (error instanceof Error && error.message.includes(" served page ")) throw error
      return undefined
    }
  }

  get total(): number {
    return CACHES.reduce((sum, cache) => sum + this.counts[cache].reads, 0)
  }

  async close(): Promise<void> {
    await this.#agent.destroy()
  }
}

export interface SeenPage {
  readonly version: number
  readonly isStale: boolean
  readonly isBypass: boolean
  readonly storeFailedAt: Milliseconds
}
