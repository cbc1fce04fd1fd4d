import { createTidemark, type EpochStore } from "tidemark/client"
import { withEpochCache } from "tidemark/fetch"

/** A site whose origin breaks off, behind `tidemark/fetch`, on whatever runtime this is run by. */

const row = { epoch: 1, watermark: 1, hard: 1, floor: 1, tags: new Map<string, number>() }

/** A log in which nothing happens. */
const store: EpochStore = {
  lookup: async (request) => ({
    tenant: "default",
    generation: 1,
    last: 1,
    asOf: Date.now(),
    namespaces: new Map(Array.from(request.keys(), (namespace) => [namespace, row])),
  }),
}

export interface BrokenReport {
  /** Answered from the cache, though the origin had never come to the end of the page. */
  readonly parts: number
  /** Answered from the cache once it had. */
  readonly hits: number
  /** What was told. */
  readonly warned: readonly string[]
}

/** Pages that are asked for at once. */
const STRIDE = 20

/** Asks for pages of an origin that breaks off at the first request for each, and answers the next. */
export async function visitBroken(origin: string, from: number, to: number): Promise<BrokenReport> {
  const warned = new Set<string>()
  const site = withEpochCache((request: Request) => fetch(origin + new URL(request.url).pathname), {
    tidemark: createTidemark({ store }),
    namespace: "blog",
    onWarning: ({ code }) => void warned.add(code),
  })

  async function visit(path: string): Promise<string> {
    const background: Promise<unknown>[] = []
    const ctx = { waitUntil: (work: Promise<unknown>) => void background.push(work) }
    try {
      const response = await site(new Request(`https://www.example.com${path}`), {}, ctx)
      // Of a page that breaks off, that rejects.
      await response.text().catch(() => "")
      return response.headers.get("cache-status") ?? ""
    } catch {
      // Broken before there were headers.
      return ""
    } finally {
      while (background.length > 0) await background.shift()
    }
  }

  let parts = 0
  let hits = 0
  for (let first = from; first < to; first += STRIDE) {
    const paths = Array.from({ length: Math.min(STRIDE, to - first) }, (_, nth) =>
      nth % 2 === 0 ? `/length/${first + nth}` : `/chunked/${first + nth}`,
    )
    await Promise.all(paths.map(visit))
    for (const second of await Promise.all(paths.map(visit))) if (second.includes("hit")) parts += 1
    for (const third of await Promise.all(paths.map(visit))) if (third === "tidemark; hit") hits += 1
  }
  return { parts, hits, warned: [...warned] }
}
