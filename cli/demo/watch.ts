import { setTimeout as delay } from "node:timers/promises"

/** One answer of a cache: when it was asked for, and which revision of the page it was. */
export interface Sighting {
  readonly askedAt: number
  readonly answeredAt: number
  readonly revision: number
}

const EVERY_MS = 15

/** Reads one page again and again, as a visitor would, until it is stopped. */
export class Watcher {
  readonly name: string
  readonly sightings: Sighting[] = []
  readonly #url: string
  readonly #stopping = new AbortController()
  readonly #watching: Promise<void>

  constructor(name: string, url: string) {
    this.name = name
    this.#url = url
    this.#watching = this.#watch()
  }

  /** When the first answer came that held this revision. */
  firstOf(revision: number): number | undefined {
    return this.sightings.find((sighting) => sighting.revision === revision)?.answeredAt
  }

  /** Answers of an older revision to requests that were made after `bound`. */
  staleAfter(bound: number, revision: number): Sighting[] {
    return this.sightings.filter((sighting) => sighting.askedAt > bound && sighting.revision < revision)
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#watching
  }

  async #watch(): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      const askedAt = Date.now()
      const revision = await readRevision(this.#url)
      if (revision !== undefined) this.sightings.push({ askedAt, answeredAt: Date.now(), revision })
      await delay(EVERY_MS, undefined, { signal }).catch(() => {})
    }
  }
}

/** Which revision of the page a cache serves; undefined where it served none. */
async function readRevision(url: string): Promise<number | undefined> {
  try {
    const response = await fetch(url)
    const revision = /data-revision="(\d+)"/.exec(await response.text())?.[1]
    return response.ok && revision !== undefined ? Number(revision) : undefined
  } catch {
    return undefined
  }
}
