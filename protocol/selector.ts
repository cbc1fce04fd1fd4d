import { byteLength } from "./bytes.ts"

/**
 * What an invalidation names: tags, urls, prefixes and hosts of one namespace. This file holds their grammar and the
 * question whether one lies within a namespace.
 */

const MAX_TAG_BYTES = 1_024
const MAX_URL_BYTES = 2_048

/** Tags with these beginnings are ours: the namespace's own tag, and urls in the sorted set of tags. */
const NAMESPACE_TAG = "ns/"
export const URL_TAG = "u:"

/** What a function here says of a value that it refuses; the caller adds which member it was. */
export type Checked = { readonly value: string } | { readonly problem: string }

/* oxlint-disable-next-line no-control-regex -- control characters are what is looked for */
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/

/** Readers ask no more than this; `checkTag` says what is wrong. */
export const isTag = (text: string): boolean =>
  text !== "" &&
  text.isWellFormed() &&
  !CONTROL.test(text) &&
  text.trim() === text &&
  byteLength(text) <= MAX_TAG_BYTES &&
  !text.startsWith(NAMESPACE_TAG) &&
  !text.startsWith(URL_TAG)

export function checkTag(text: string): Checked {
  if (isTag(text)) return { value: text }
  if (text === "") return { problem: "a tag is not empty" }
  if (!text.isWellFormed()) return { problem: "a tag is well-formed Unicode" }
  if (CONTROL.test(text)) return { problem: "a tag holds no control characters" }
  if (text.trim() !== text) return { problem: "a tag has no white space at either end" }
  if (byteLength(text) > MAX_TAG_BYTES) return { problem: `a tag has at most ${MAX_TAG_BYTES} bytes` }
  return { problem: `tags that begin with '${NAMESPACE_TAG}' or '${URL_TAG}' are Tidemark's own` }
}

/** As `checkUrl` normalises it; undefined for what it refuses, which it says why. */
export function normalUrl(text: string): string | undefined {
  if (!URL.canParse(text) || text.includes("#")) return undefined
  const { protocol, username, password, href } = new URL(text)
  return /^https?:$/.test(protocol) && username + password === "" && byteLength(href) <= MAX_URL_BYTES
    ? href
    : undefined
}

/** What is wrong with a text that `normalUrl` refuses. */
function urlProblem(text: string): string {
  if (!URL.canParse(text)) return "is not an absolute URL"
  const { protocol, username, password } = new URL(text)
  if (protocol !== "https:" && protocol !== "http:") return "must be http or https"
  if (username !== "" || password !== "") return "must not carry user info"
  if (text.includes("#")) return "must not carry a fragment"
  return `has at most ${MAX_URL_BYTES} bytes`
}

/** Normalised by the WHATWG parser. The query counts. */
export function checkUrl(text: string): Checked {
  const value = normalUrl(text)
  return value === undefined ? { problem: `a url ${urlProblem(text)}` } : { value }
}

/** A url without a query, matching whole path segments. */
export function checkPrefix(text: string): Checked {
  if (text.includes("?")) return { problem: "a prefix must not carry a query" }
  const value = normalUrl(text)
  return value === undefined ? { problem: `a prefix ${urlProblem(text)}` } : { value }
}

/** `name[:port]`, lower-cased. */
export function checkHost(text: string): Checked {
  const match = /^(\[[0-9a-f:.]+\]|[^\s/?#@:\\]+)(?::(\d{1,5}))?$/i.exec(text)
  const problem = "a host is a name with an optional port, such as www.example.com or www.example.com:8443"
  if (!match || Number(match[2] ?? 1) > 65_535 || Number(match[2] ?? 1) === 0) return { problem }
  try {
    const { hostname } = new URL(`https://${match[1]}/`)
    return { value: match[2] === undefined ? hostname : `${hostname}:${Number(match[2])}` }
  } catch {
    return { problem }
  }
}

const withoutSlash = (path: string): string => (path.endsWith("/") ? path.slice(0, -1) : path)

/** Whether `prefix` covers `url` by whole path segments; `…/blog/` also covers `…/blog`. Both normalised. */
export function prefixCovers(prefix: string, url: string): boolean {
  const outer = new URL(prefix)
  const inner = new URL(url)
  if (outer.origin !== inner.origin) return false
  const path = withoutSlash(outer.pathname)
  return withoutSlash(inner.pathname) === path || inner.pathname.startsWith(`${path}/`)
}

/** Whether a declared host covers another host; one declared without a port covers all its ports. */
export const hostCovers = (declared: string, host: string): boolean =>
  declared === host || (hostPort(declared) === undefined && hostName(host) === declared)

const hostPort = (host: string): string | undefined => /:(\d+)$/.exec(host)?.[1]
const hostName = (host: string): string => host.replace(/:\d+$/, "")

/** Whether a declared host covers a normalised url, whatever its scheme. */
export function hostCoversUrl(declared: string, url: string): boolean {
  const { hostname, port, protocol } = new URL(url)
  return hostCovers(declared, `${hostname}:${port || (protocol === "https:" ? "443" : "80")}`)
}

/** Where a namespace's pages live. One that declares neither takes tags and whole bumps only. */
export interface Territory {
  readonly hosts: readonly string[]
  readonly prefixes: readonly string[]
}

/** A url or a prefix lies within when either a host or a prefix covers it. */
export const urlWithin = (url: string, territory: Territory): boolean =>
  territory.hosts.some((host) => hostCoversUrl(host, url)) ||
  territory.prefixes.some((prefix) => prefixCovers(prefix, url))

export const hostWithin = (host: string, territory: Territory): boolean =>
  territory.hosts.some((declared) => hostCovers(declared, host))
