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

/** What no cache that we know of rewrites, and what no reserved tag looks like: most tags. */
const UNFOLDED = /^[\w.-]*$/

/** What is not seen at all; and before a tag white space, and the sign that CloudFront's API puts there. */
const UNSEEN = /[\p{Cc}\p{DI}]|^[\s#]+/gu

/**
 * The text that a cache may take a label for: caches fold case, some decode, trim or normalise. Two labels that fold to
 * one may be one label somewhere, so what must not be reached is looked for in this form. Percent-encoding upon
 * percent-encoding is undone three times, as more would cost more than its bytes; of what is not ASCII, byte by byte.
 */
export function foldLabel(label: string): string {
  let folded = label
  for (let times = 0; times < 3; times++)
    folded = folded.replace(/%([\da-f]{2})/gi, (_, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    )
  // Twice, as what is not seen may stand before what is cut off.
  return folded.normalize("NFKC").toLowerCase().replace(UNSEEN, "").replace(UNSEEN, "")
}

/** Whether a folded label is one of ours: of a namespace, or of a url. */
export const isOwnLabel = (folded: string): boolean =>
  folded.startsWith(NAMESPACE_TAG) || folded.startsWith(URL_TAG)

/** Whether a tag is Tidemark's own, or some cache could take it for one: `NS/blog`, `ns%2Fblog`, `#ns/blog`. */
export const isOwnTag = (tag: string): boolean => !UNFOLDED.test(tag) && isOwnLabel(foldLabel(tag))

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
  !isOwnTag(text)

export function checkTag(text: string): Checked {
  if (isTag(text)) return { value: text }
  if (text === "") return { problem: "a tag is not empty" }
  if (!text.isWellFormed()) return { problem: "a tag is well-formed Unicode" }
  if (CONTROL.test(text)) return { problem: "a tag holds no control characters" }
  if (text.trim() !== text) return { problem: "a tag has no white space at either end" }
  if (byteLength(text) > MAX_TAG_BYTES) return { problem: `a tag has at most ${MAX_TAG_BYTES} bytes` }
  const own = `tags that begin with '${NAMESPACE_TAG}' or '${URL_TAG}', however spelled, are Tidemark's own`
  return { problem: own }
}

/** What browsers make of an address, which is ASCII: its site without the dot that may end a host, and the rest. */
const WRITTEN = /^(https?:\/\/[^/@]+?)\.?((:\d+)?\/[^#]*)/

/** As `checkUrl` writes it. Undefined for what it refuses, which it says why; but for a fragment, which is dropped. */
export function writtenUrl(text: string): string | undefined {
  const found = URL.canParse(text) && WRITTEN.exec(new URL(text).href)
  return found && found[0].length <= MAX_URL_BYTES ? `${found[1]}${found[2]}` : undefined
}

/**
 * What is the same character percent-encoded or not: the unreserved ones of RFC 3986, and `!'(),` of its
 * sub-delimiters. Of those it says that they may mean something else when encoded; but `encodeURIComponent`,
 * `encodeURI` and PHP's `rawurlencode` each encode others of them, so that one page has several spellings, and the worst
 * is a page too many that is stale. Not `*`, as what is sent to a cache must not become a wildcard, nor any other: `%2F`
 * is no `/`. Behind a `%` that encodes nothing all stay, as they could become an escape with it.
 *
 * @see https://www.rfc-editor.org/rfc/rfc3986#section-6.2.2
 */
const SPELLED = /(?<!%.?)%(2[1789c-e]|3\d|[46][1-9a-f]|[57][\da]|5f|7e)|%[\da-f]{2}/gi

/**
 * The one form of an address, for epochs and for the question what lies where: however it was spelled, it is the same
 * page. The form of a form is itself. Undefined for what `checkUrl` refuses, but for a fragment, which is dropped.
 */
export const normalUrl = (text: string): string | undefined =>
  // Before it is parsed: `%2e%2e` is a dot segment, and in a query the parser encodes a quote again.
  writtenUrl(
    text.replace(SPELLED, (escape, decoded) => (decoded ? decodeURIComponent(escape) : escape.toUpperCase())),
  )

/** What is wrong with a text that `checkUrl` refuses. */
function urlProblem(text: string): string {
  if (!URL.canParse(text)) return "is not an absolute URL"
  const { protocol, username, password } = new URL(text)
  if (protocol !== "https:" && protocol !== "http:") return "must be http or https"
  if (username !== "" || password !== "") return "must not carry user info"
  if (text.includes("#")) return "must not carry a fragment"
  return `has at most ${MAX_URL_BYTES} bytes`
}

/**
 * As a browser would send it, without the dot that may end the host, and otherwise as it was spelled: caches keep pages
 * by what they were asked. The query counts. What it is the same as, `normalUrl` says.
 */
export function checkUrl(text: string): Checked {
  const value = text.includes("#") ? undefined : writtenUrl(text)
  return value === undefined ? { problem: `a url ${urlProblem(text)}` } : { value }
}

/** The same of what is looked up and sent to no cache: in its normal form. */
export function checkNormalUrl(text: string): Checked {
  const checked = checkUrl(text)
  return "value" in checked ? { value: asNormal(checked.value) } : checked
}

/** The normal form of what `checkUrl` or `checkPrefix` took. */
export const asNormal = (url: string): string => normalUrl(url) ?? url

/** A url without a query, matching whole path segments. */
export function checkPrefix(text: string): Checked {
  if (text.includes("?")) return { problem: "a prefix must not carry a query" }
  const checked = checkUrl(text)
  if ("problem" in checked) return { problem: `a prefix ${urlProblem(text)}` }
  return isName(new URL(checked.value).hostname)
    ? checked
    : { problem: "a prefix names one host, no wildcard" }
}

/**
 * Whether a parsed host can be one, and not several: no label is empty or too long, and none has what people write
 * patterns and lists with. @see https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4
 */
const isName = (hostname: string): boolean =>
  hostname.startsWith("[") || (hostname.length <= 253 && /^([^.*+$(){},;]{1,63}(\.(?!$)|$))+$/.test(hostname))

/** `name[:port]`, lower-cased, without the dot that may end a name. */
export function checkHost(text: string): Checked {
  const match = /^(\[[0-9a-f:.]+\]|[^\s/?#@:\\]+?)\.?(?::(\d{1,5}))?$/i.exec(text)
  const problem =
    "a host is one name, no wildcard, with an optional port, such as www.example.com or www.example.com:8443"
  const [, name = "", port] = match ?? []
  if (Number(port ?? 1) > 65_535 || Number(port ?? 1) === 0 || !URL.canParse(`https://${name}/`))
    return { problem }
  const { hostname } = new URL(`https://${name}/`)
  // The parser takes `1.2.3` and `0x7f.1` for IPv4 addresses, which nobody means by them.
  const isShort = /^[\d.]+$/.test(hostname) && hostname !== name
  if (!isName(hostname) || isShort) return { problem }
  return { value: port === undefined ? hostname : `${hostname}:${Number(port)}` }
}

const withoutSlash = (path: string): string => (path.endsWith("/") ? path.slice(0, -1) : path)

/**
 * Whether `prefix` covers `url` by whole path segments; `…/blog/` also covers `…/blog`. Both as they are spelled, which
 * is how caches compare them.
 */
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

/** Whether a declared host covers a url that was checked, whatever its scheme. */
export function hostCoversUrl(declared: string, url: string): boolean {
  const { hostname, port, protocol } = new URL(url)
  return hostCovers(declared, `${hostname}:${port || (protocol === "https:" ? "443" : "80")}`)
}

/** Where a namespace's pages live. One that declares neither takes tags and whole bumps only. */
export interface Territory {
  readonly hosts: readonly string[]
  readonly prefixes: readonly string[]
}

/** A url or a prefix lies within when either a host or a prefix covers it, however each of them is spelled. */
export const urlWithin = (url: string, { hosts, prefixes }: Territory): boolean =>
  hosts.some((host) => hostCoversUrl(host, url)) ||
  prefixes.some((prefix) => prefixCovers(asNormal(prefix), asNormal(url)))

export const hostWithin = (host: string, territory: Territory): boolean =>
  territory.hosts.some((declared) => hostCovers(declared, host))
