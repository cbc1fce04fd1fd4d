import { fromBase64, sha256, toBase64, toHex, utf8 } from "../protocol/bytes.ts"
import { SECOND } from "../protocol/time.ts"
import type { Unstorage } from "./bounded-storage.ts"
import type { PageStore } from "./pages.ts"

/** Pages in a storage of Nitro's, which keeps JSON. */

/**
 * @param kind tells those apart that share a storage
 * @returns what `createPages` keeps pages in. Each goes by its `max-age`, also where the storage knows no `ttl`
 */
export function pagesIn(storage: Unstorage | (() => Unstorage), kind: string): PageStore {
  const given = () => (typeof storage === "function" ? storage() : storage)
  const nameOf = async (key: string) => `tidemark:${kind}:${toHex(await sha256(utf8(key)))}`
  return {
    async match(key) {
      // Of what a storage gives nothing is certain.
      const { headers, text, base64, until } = Object(await given().getItem(await nameOf(key)))
      const body = typeof base64 === "string" ? fromBase64(base64) : typeof text === "string" && utf8(text)
      if (!Array.isArray(headers) || !body || !(Date.now() < until)) return undefined
      return new Response(body, { headers: headers as [string, string][] })
    },
    async put(key, response) {
      const bytes = new Uint8Array(await response.arrayBuffer())
      const ttl = Number(/max-age=(\d+)/.exec(response.headers.get("cache-control") ?? "")?.[1])
      const text = textOf(bytes)
      const body = text === undefined ? { base64: toBase64(bytes) } : { text }
      const page = { ...body, headers: [...response.headers], until: Date.now() + ttl * SECOND }
      await given().setItem(await nameOf(key), page, { ttl })
    },
    async delete(key) {
      await given().setItem(await nameOf(key), undefined)
      return true
    },
  }
}

/** What bytes say in UTF-8, byte for byte; undefined where they say nothing. */
function textOf(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}
