import { SECOND } from "../protocol/time.ts"
import type { PageStore } from "./pages.ts"

/** What a page counts beside its body, in bytes: its headers and its key. */
const OVERHEAD = 1_024

interface Page {
  readonly body: ArrayBuffer
  readonly status: number
  readonly headers: readonly (readonly [string, string])[]
  /** By the host's clock. */
  readonly until: number
}

/**
 * Keeps pages in this process, where the runtime has no Cache API. What was used longest ago goes first.
 *
 * @param options `maxBytes`: how much it may hold, default 64 MiB; a page larger than that is not kept
 */
export function memoryPages({ maxBytes = 64 * 1_024 ** 2 }: { readonly maxBytes?: number } = {}): PageStore {
  const pages = new Map<string, Page>()
  let held = 0

  const urlOf = (key: RequestInfo | URL) => (typeof key === "object" && "url" in key ? key.url : String(key))

  function remove(url: string): boolean {
    const page = pages.get(url)
    if (page) held -= page.body.byteLength + OVERHEAD
    return pages.delete(url)
  }

  return {
    async match(key) {
      const url = urlOf(key)
      const page = pages.get(url)
      if (!page) return undefined
      if (page.until <= Date.now()) {
        remove(url)
        return undefined
      }
      pages.delete(url)
      pages.set(url, page)
      // A view is copied by the response, so that nobody can change what is held.
      return new Response(page.body.byteLength > 0 ? page.body : null, {
        status: page.status,
        headers: page.headers as [string, string][],
      })
    },
    async put(key, response) {
      const body = await response.arrayBuffer()
      const url = urlOf(key)
      const maxAge = /max-age=(\d+)/.exec(response.headers.get("cache-control") ?? "")?.[1]
      remove(url)
      const size = body.byteLength + OVERHEAD
      if (size > maxBytes) return
      held += size
      pages.set(url, {
        body,
        status: response.status,
        headers: [...response.headers],
        until: maxAge === undefined ? Infinity : Date.now() + Number(maxAge) * SECOND,
      })
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
