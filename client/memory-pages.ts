import { LRUCache } from "lru-cache"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import type { PageStore } from "./pages.ts"

const MIB = 1_024 * 1_024

export interface MemoryPagesOptions {
  /** Most bytes in all, bodies and headers; of more, pages used longest ago go. Default 64 MiB. */
  readonly maxBytes?: number
  /** Milliseconds from any moment, by which `max-age` is counted. Default `performance.now`. */
  readonly now?: () => Milliseconds
}

interface Page {
  readonly body: Uint8Array<ArrayBuffer> | undefined
  readonly status: number
  readonly headers: readonly [string, string][]
}

/**
 * Pages in the memory of one process, for runtimes without a Cache API: what `cache` of `tidemark/fetch`, `tidemark/hono`
 * and others takes. A page stays for its `max-age`, if it has one. It starts nothing by itself and needs no closing.
 *
 * `put` rejects for a page that is larger than `maxBytes` by itself.
 *
 * @example
 *
 *     epochCache({ tidemark, namespace: "blog", cache: memoryPages() })
 *
 * @throws {RangeError} when `maxBytes` is no whole number above 0
 */
export function memoryPages({ maxBytes = 64 * MIB, now }: MemoryPagesOptions = {}): PageStore {
  if (!(Number.isInteger(maxBytes) && maxBytes > 0))
    throw new RangeError(`maxBytes is out of range: ${maxBytes}`)
  const pages = new LRUCache<string, Page>({
    maxSize: maxBytes,
    sizeCalculation: (page, url) => url.length + sizeOf(page),
    // A resolution would take a timer.
    ttlResolution: 0,
    ...(now ? { perf: { now } } : {}),
  })
  return {
    async match(request) {
      const page = pages.get(urlOf(request))
      return page && new Response(page.body, { status: page.status, headers: [...page.headers] })
    },
    async put(request, response) {
      const url = urlOf(request)
      const [, seconds] = /(?:^|[,\s])max-age=(\d+)/i.exec(response.headers.get("cache-control") ?? "") ?? []
      const { status } = response
      const body = await bytesOf(response, maxBytes)
      // Also where the new page is not kept: the one before it is not to be had any more.
      pages.delete(url)
      if (seconds === "0") return
      if (body !== "too large")
        pages.set(
          url,
          { body, status, headers: [...response.headers] },
          { ttl: Number(seconds ?? 0) * SECOND },
        )
      if (!pages.has(url)) throw new RangeError(`the page is larger than ${maxBytes} bytes`)
    },
    async delete(request) {
      return pages.delete(urlOf(request))
    },
  }
}

const urlOf = (request: RequestInfo | URL): string =>
  request instanceof Request ? request.url : new URL(request).href

const sizeOf = ({ body, headers }: Page): number =>
  headers.reduce((size, [name, value]) => size + name.length + value.length, body?.length ?? 0) + 1

/** Reads no more than could be kept. */
async function bytesOf({ body }: Response, maxBytes: number): Promise<Page["body"] | "too large"> {
  if (!body) return undefined
  const chunks: Uint8Array<ArrayBuffer>[] = []
  let size = 0
  for await (const chunk of body as Bytes) {
    size += chunk.length
    // Leaving the loop ends the stream.
    if (size > maxBytes) return "too large"
    chunks.push(chunk)
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer())
}

/** The library's types lack that streams can be iterated. */
type Bytes = ReadableStream & AsyncIterable<Uint8Array<ArrayBuffer>>
