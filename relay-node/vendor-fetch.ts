import { Agent, type Dispatcher, EnvHttpProxyAgent, Pool, request } from "undici"
import type { VendorAnswer, VendorFetch, VendorHeaders } from "../dispatch/targets/target.ts"
import type { Milliseconds } from "../protocol/time.ts"
import { isLoopback } from "./host.ts"

/** Ours: more than any lane has under way at once, for each vendor. */
const CONNECTIONS = 16
const KEEP_ALIVE: Milliseconds = 30_000
/** Ours: how long a proxy may take to open a tunnel, for which calls may wait that have been given up meanwhile. */
const TUNNEL_WITHIN: Milliseconds = 30_000
const OPTIONS = { connections: CONNECTIONS, keepAliveTimeout: KEEP_ALIVE }

export interface Vendors {
  readonly fetch: VendorFetch
  /** Breaks off what is under way. */
  close(): Promise<void>
}

/** By which proxies vendors are called, by the names that every tool has for it; in small letters they count first. */
export type ProxyEnvironment = Readonly<
  Partial<
    Record<
      "http_proxy" | "HTTP_PROXY" | "https_proxy" | "HTTPS_PROXY" | "no_proxy" | "NO_PROXY",
      string | undefined
    >
  >
>

/**
 * What the relay calls vendors by: undici's `request`, for half of what its `fetch` costs, and that a whole purge.
 * It says who it is, as some vendors' firewalls turn away whoever does not, and asks for answers as they are: they are
 * short, and nothing here would unpack them.
 *
 * @param env where proxies are named. Default: none. Addresses of this machine are called without one in any case
 * @throws {TypeError} naming the variable and no value, for what is no address of a proxy
 */
export function connectVendors(version: string, env: ProxyEnvironment = {}): Vendors {
  const direct = new Agent(OPTIONS)
  const proxied = proxiedBy(env)
  const own = { "user-agent": `tidemark/${version}`, "accept-encoding": "identity" }
  return {
    async fetch(url, { method = "GET", headers, body, signal }): Promise<VendorAnswer> {
      // Undici would connect first.
      signal.throwIfAborted()
      const dispatcher = proxied && !isLoopback(new URL(url).hostname) ? proxied : direct
      const asked = request(url, {
        dispatcher,
        method,
        headers: { ...own, ...headers },
        ...(body === undefined ? {} : { body }),
        signal,
      })
      const answer = await Promise.race([asked, aborted(signal)]).catch((error: unknown) => {
        throw refusedByProxy(error) ?? error
      })
      return { status: answer.statusCode, headers: readable(answer.headers), body: answer.body }
    },
    async close() {
      await Promise.all([direct.destroy(), proxied?.destroy()])
    },
  }
}

/** Undici hears of a signal once it is connected: not while a proxy, or TLS, keeps it waiting for that. */
const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true })
  })

/**
 * Undici's own agent, which knows `NO_PROXY`, and takes the proxy of `HTTP_PROXY` for https too where there is no other.
 * Undefined: there is no proxy.
 */
function proxiedBy(env: ProxyEnvironment): Dispatcher | undefined {
  const http = proxyAt(env, "HTTP_PROXY")
  const https = proxyAt(env, "HTTPS_PROXY")
  if (http === "" && https === "") return undefined
  // Empty and not left out: it would look for them by itself.
  const noProxy = env.no_proxy ?? env.NO_PROXY ?? ""
  const clientFactory = (origin: URL, options: object) =>
    new Pool(origin, { ...options, headersTimeout: TUNNEL_WITHIN })
  return new EnvHttpProxyAgent({ ...OPTIONS, clientFactory, httpProxy: http, httpsProxy: https, noProxy })
}

/** The address that a variable holds, empty where it holds none. Without a scheme it is http, as others have it. */
function proxyAt(env: ProxyEnvironment, name: "HTTP_PROXY" | "HTTPS_PROXY"): string {
  const lower = name === "HTTP_PROXY" ? "http_proxy" : "https_proxy"
  const text = (env[lower] ?? env[name] ?? "").trim()
  if (text === "") return ""
  const address = text.includes("://") ? text : `http://${text}`
  const variable = env[lower] === undefined ? name : lower
  if (!isProxy(address)) throw new TypeError(`${variable} is not an http or https URL of a proxy`)
  return address
}

/** Undici would throw for a user or a password that is not well encoded, and show the whole address. */
function isProxy(address: string): boolean {
  try {
    const { protocol, username, password } = new URL(address)
    decodeURIComponent(username + password)
    return protocol === "http:" || protocol === "https:"
  } catch {
    return false
  }
}

/** What a proxy said instead of passing a call on: undici has it in a sentence alone, and codes are what is told. */
function refusedByProxy(error: unknown): Error | undefined {
  const message = error instanceof Error ? error.message : ""
  const [, status] = /^Proxy (?:response|Authentication Required) \((\d{3})\)/.exec(message) ?? []
  return status === undefined
    ? undefined
    : Object.assign(new Error(`the proxy answered ${status}`), { code: `PROXY_ANSWERED_${status}` })
}

/** Undici writes names in small letters, and makes a list of what came more than once. */
function readable(headers: Readonly<Record<string, string | string[] | undefined>>): VendorHeaders {
  const get = (name: string): string | null => {
    const value = headers[name.toLowerCase()]
    return Array.isArray(value) ? value.join(", ") : (value ?? null)
  }
  return { get, has: (name) => get(name) !== null }
}
