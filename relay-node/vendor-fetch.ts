import { Agent, request } from "undici"
import type { VendorAnswer, VendorFetch, VendorHeaders } from "../dispatch/targets/target.ts"
import type { Milliseconds } from "../protocol/time.ts"

/** Ours: more than any lane has under way at once, for each vendor. */
const CONNECTIONS = 16
const KEEP_ALIVE: Milliseconds = 30_000

export interface Vendors {
  readonly fetch: VendorFetch
  /** Breaks off what is under way. */
  close(): Promise<void>
}

/**
 * What the relay calls vendors by: undici's `request`, for half of what its `fetch` costs, and that a whole purge.
 * It says who it is, as some vendors' firewalls turn away whoever does not, and asks for answers as they are: they are
 * short, and nothing here would unpack them.
 */
export function connectVendors(version: string): Vendors {
  const dispatcher = new Agent({ connections: CONNECTIONS, keepAliveTimeout: KEEP_ALIVE })
  const own = { "user-agent": `tidemark/${version}`, "accept-encoding": "identity" }
  return {
    async fetch(url, { method = "GET", headers, body, signal }): Promise<VendorAnswer> {
      // Undici would connect first.
      signal.throwIfAborted()
      const answer = await request(url, {
        dispatcher,
        method,
        headers: { ...own, ...headers },
        ...(body === undefined ? {} : { body }),
        signal,
      })
      return { status: answer.statusCode, headers: readable(answer.headers), body: answer.body }
    },
    close: () => dispatcher.destroy(),
  }
}

/** Undici writes names in small letters, and makes a list of what came more than once. */
function readable(headers: Readonly<Record<string, string | string[] | undefined>>): VendorHeaders {
  const get = (name: string): string | null => {
    const value = headers[name.toLowerCase()]
    return Array.isArray(value) ? value.join(", ") : (value ?? null)
  }
  return { get, has: (name) => get(name) !== null }
}
