import type { Namespace } from "../protocol/namespace.ts"

/** What a page is kept under: everything that it is made from, and nothing that it is not. */

/**
 * Headers by which frameworks and apps learn under which name they were asked. A page that was made under one name must
 * never be shown under another, whoever claimed it.
 */
export const NAMING: readonly string[] = [
  "host",
  "cf-visitor",
  "cloudfront-forwarded-proto",
  "forwarded",
  "front-end-https",
  "x-forwarded-host",
  "x-forwarded-path",
  "x-forwarded-port",
  "x-forwarded-prefix",
  "x-forwarded-proto",
  "x-forwarded-protocol",
  "x-forwarded-scheme",
  "x-forwarded-server",
  "x-forwarded-ssl",
  "x-forwarded-uri",
  "x-host",
  "x-http-host-override",
  "x-original-host",
  "x-original-url",
  "x-rewrite-url",
  "x-scheme",
  "x-url-scheme",
]

/**
 * `Forwarded` names the visitor too, in `for` and `by`, whom no page is made for. Only what nobody could read anything
 * else in: many look for a `host=` wherever it stands, in quotes too.
 */
export const PERSONAL = /(?:^|(?<=[,;]))\s*(?:for|by)\s*=[^,;=]*/gi

/** Longer keys are nobody's page: who sends such a request wants to fill the cache. Ours. */
const MAX_KEY = 8_000

/**
 * Parameters by which campaigns are counted, and which no page shows; `*` at the end stands for anything. As Astro has
 * them (https://docs.astro.build/en/reference/experimental-flags/route-caching/), but for `ref`, which sites do read.
 */
const TRACKING = [
  "__s",
  "_ga",
  "_gl",
  "_hsenc",
  "_hsmi",
  "_ke",
  "dclid",
  "fbclid",
  "gbraid",
  "gclid",
  "li_fat_id",
  "mc_cid",
  "mc_eid",
  "msclkid",
  "oly_anon_id",
  "oly_enc_id",
  "rb_clickid",
  "s_cid",
  "twclid",
  "utm_*",
  "vero_id",
  "wbraid",
  "wickedid",
  "yclid",
]

/** Which parameters of a url make another page. In either list, `*` at the end of a name stands for anything. */
export type QueryOptions =
  | {
      /** Those that do not. Default: the usual ones by which campaigns are counted (`utm_*`, `gclid`, `fbclid`, …). */
      readonly ignore?: readonly string[]
    }
  | {
      /** Only these do. */
      readonly allow: readonly string[]
    }

/** What of a request's header makes another page: all of its value, or what is made of it. */
export type Normaliser = (value: string | null) => string

export interface KeyOptions {
  /** Which parameters of the url make another page. Default: all but the usual ones by which campaigns are counted. */
  readonly query?: QueryOptions
  /**
   * Request headers that pages differ by. By name alone each value makes a page of its own. With a normaliser it is
   * what that gives, and the page is made from a request that says just this (`""`: that lacks it): `language` and
   * `cookie` of `tidemark/vary` give some. A response whose `Vary` names any other header but `Accept-Encoding` is not
   * kept. Default: none.
   */
  readonly vary?: readonly string[] | Readonly<Record<string, true | Normaliser>>
  /** Changes with each deploy, such as a commit's hash: pages of another version are not found. Default: none. */
  readonly version?: string
}

/** A request as the cache sees it. */
export interface Keyed {
  /** Undefined where the request is none that a page is kept for. */
  readonly key: string | undefined
  readonly plain: Plain
  /** What headers say to the page, where that is not what the visitor's do; `""` for those that it lacks. */
  readonly said: Readonly<Record<string, string>>
}

export interface Plain {
  readonly url: string
  /** The same, or where the order of parameters makes no other page, with them in order. */
  readonly sorted: string
  /** Whether parameters were left out. */
  readonly isStripped: boolean
}

/** How requests become keys. */
export interface Keying {
  /** A url without the parameters that make no other page; sorted too, where their order makes none. */
  plain(url: string): Plain
  /** Names of the headers that are in the key, in lower case. */
  readonly varied: readonly string[]
  /** @param label what the user says that the page is kept under, instead of its url */
  keyed(request: Request, namespace: Namespace, label: string | undefined): Keyed
}

/**
 * @param isSorted whether the order of parameters makes no other page
 * @throws {RangeError} when `vary` names what is no header
 */
export function keyingOf({ query = {}, vary = [], version }: KeyOptions, isSorted = false): Keying {
  const isIgnored = ignoredBy(query)
  const varied: readonly (readonly [string, true | Normaliser])[] = isNames(vary)
    ? vary.map((name) => [name.toLowerCase(), true])
    : Object.entries(vary).map(([name, normalise]) => [name.toLowerCase(), normalise])
  for (const [name] of varied)
    if (name === "*" || !/^[\w!#$%&'*+.^`|~-]+$/.test(name))
      throw new RangeError(`vary must name headers, got ${JSON.stringify(name)}`)

  return {
    varied: varied.map(([name]) => name),
    plain,
    keyed(request, namespace, label) {
      const { headers } = request
      const own = plain(request.url)
      const said: Record<string, string> = {}
      const values = varied.map(([name, normalise]) => {
        const value = headers.get(name)
        if (normalise === true) return value
        const normal = normalise(value)
        if (normal !== (value ?? "")) said[name] = normal
        return normal
      })
      const naming = NAMING.flatMap((name) => {
        const value = headers.get(name)
        if (value === null) return []
        return [name, name === "forwarded" ? value.replaceAll(PERSONAL, "") : value]
      })
      const [origin] = /^[^/]*\/\/[^/?#]*/.exec(own.url) ?? []
      const key = keyUrl([namespace, label ?? own.sorted, origin, values, naming, version])
      return { key: key.length > MAX_KEY ? undefined : key, plain: own, said }
    },
  }

  function plain(url: string): Plain {
    const [, page = url, search, fragment = ""] = /^([^?#]*)\?([^#]*)(.*)$/s.exec(url) ?? []
    if (search === undefined) return { url, sorted: url, isStripped: false }
    const pairs = search.split("&")
    // What is left stays spelled as it was: by that it is published.
    const left = pairs.filter((pair) => pair === "" || !isIgnored(nameOf(pair)))
    const put = (text: string) => page + (left.some(Boolean) ? `?${text}` : "") + fragment
    const text = left.join("&")
    const parameters = new URLSearchParams(`&${text}`)
    parameters.sort()
    const own = put(text)
    return {
      url: own,
      sorted: isSorted ? put(`${parameters}`) : own,
      isStripped: left.length < pairs.length,
    }
  }
}

/** The name in `name=value`, decoded. Behind a `&`, as a question mark in front would be taken off. */
export function nameOf(pair: string): string {
  const [name = ""] = new URLSearchParams(`&${pair}`).keys()
  return name
}

const isNames = (vary: KeyOptions["vary"]): vary is readonly string[] => Array.isArray(vary)

/**
 * The key of a page, as a url. On a host of its own: under the page's own url, an origin that is fetched through the
 * same cache would be answered with our copy, which would then be stamped anew.
 */
const keyUrl = (parts: readonly unknown[]): string =>
  `https://pages.tidemark.invalid/${encodeURIComponent(JSON.stringify(parts))}`

function ignoredBy(query: QueryOptions): (name: string) => boolean {
  if ("allow" in query) {
    const isAllowed = matcherOf(query.allow)
    return (name) => !isAllowed(name)
  }
  return matcherOf(query.ignore ?? TRACKING)
}

function matcherOf(patterns: readonly string[]): (name: string) => boolean {
  const exact = new Set(patterns.map((pattern) => pattern.toLowerCase()))
  const beginnings = [...exact].filter((pattern) => pattern.endsWith("*")).map((text) => text.slice(0, -1))
  return (name) => {
    const lower = name.toLowerCase()
    return exact.has(lower) || beginnings.some((beginning) => lower.startsWith(beginning))
  }
}
