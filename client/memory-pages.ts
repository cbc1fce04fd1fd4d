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
  readonly bytes: number
  readonly until: Milliseconds
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
export function memoryPages({
  maxBytes = 64 * MIB,
  now = () => performance.now(),
}: MemoryPagesOptions = {}): PageStore {
  if (!(Number.isInteger(maxBytes) && maxBytes > 0))
    throw new RangeError(`maxBytes is out of range: ${maxBytes}`)
  /** In the order of their last use. */
  const pages = new Map<string, Page>()
  let held = 0

  function remove(url: string): boolean {
    held -= pages.get(url)?.bytes ?? 0
    return pages.delete(url)
  }

  return {
    async match(key) {
      const url = urlOf(key)
      const page = pages.get(url)
      if (!page) return undefined
      if (now() > page.until) {
        remove(url)
        return undefined
      }
      pages.delete(url)
      pages.set(url, page)
      return new Response(page.body, { status: page.status, headers: [...page.headers] })
    },
    async put(key, response) {
      const url = urlOf(key)
      const headers = [...response.headers]
      const [, seconds = "Infinity"] =
        /(?:^|[,\s])max-age=(\d+)/i.exec(response.headers.get("cache-control") ?? "") ?? []
      const body = await bytesOf(response, maxBytes)
      // Also where the new page is not kept: the one before it is not to be had any more.
      remove(url)
      if (seconds === "0") return
      const labels = headers.reduce((size, [name, value]) => size + name.length + value.length, url.length)
      const bytes = body === "too large" ? Infinity : (body?.length ?? 0) + labels
      if (body === "too large" || bytes > maxBytes)
        throw new RangeError(`the page is larger than ${maxBytes} bytes`)
      pages.set(url, {
        body,
        status: response.status,
        headers,
        bytes,
        until: now() + Number(seconds) * SECOND,
      })
      held += bytes
      for (const oldest of pages.keys()) {
        if (held <= maxBytes) break
        remove(oldest)
      }
    },
    async delete(key) {
      return remove(urlOf(key))
    },
  }
}

const urlOf = (key: string): string => new URL(key).href

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
