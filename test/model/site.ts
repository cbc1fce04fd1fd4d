import type { Capabilities, Kind } from "../../dispatch/targets/target.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import type { Config, ConfigInput } from "../../protocol/config/schema.ts"
import type { InvalidationInput, Mode } from "../../protocol/invalidation.ts"
import { PORTABLE_CODEC } from "../../protocol/tag-rules.ts"

/**
 * A site of a few pages, and what purges mean for them: the plain model that delivery is held against. It knows pages
 * and labels, and nothing of how plans are made.
 */

/** A set of pages, a bit each. */
export type Pages = number

interface Page {
  readonly url: string
  readonly namespace: string
  readonly tags: readonly string[]
}

const page = (namespace: string, url: string, ...tags: string[]): Page => ({ url, namespace, tags })

const PAGES: readonly Page[] = [
  page("blog", "https://www.example.com/blog/1", "one"),
  page("blog", "https://www.example.com/blog/2", "two", "common"),
  page("blog", "https://www.example.com/blog/a/3", "one", "two"),
  page("blog", "https://www.example.com/blog/a/4"),
  page("blog/news", "https://www.example.com/blog/news/1", "one"),
  page("blog/news", "https://www.example.com/blog/news/2", "common"),
  page("shop", "https://shop.example.com/1", "s-one"),
  page("shop", "https://shop.example.com/a/2", "s-two", "common"),
  page("docs", "https://docs.example.com/1", "d-one"),
  page("docs", "https://docs.example.com/2", "common"),
]

export const NONE: Pages = 0

const where = (isMeant: (one: Page) => boolean): Pages =>
  PAGES.reduce((found, one, index) => (isMeant(one) ? found | (1 << index) : found), NONE)

const isBelow = (namespace: string, outer: string): boolean =>
  outer === "*" || namespace === outer || namespace.startsWith(`${outer}/`)

const isUnder = ({ url }: Page, prefix: string): boolean => `${url}/`.startsWith(prefix.replace(/\/?$/, "/"))

/** Every response carries the tags of its namespace and of those above it. */
const labels = ({ namespace, tags }: Page): string[] => {
  const parts = namespace.split("/")
  return [...tags, ...parts.map((_, index) => `ns/${parts.slice(0, index + 1).join("/")}`)]
}

/** What a cache drops that is told this. */
export function reached(kind: Kind, value: string): Pages {
  switch (kind) {
    case "everything":
      return where(() => true)
    case "namespace":
      return where(({ namespace }) => isBelow(namespace, value))
    case "tag":
      return where((one) => labels(one).includes(value))
    case "url":
      return where(({ url }) => url === value)
    case "prefix":
      return where((one) => isUnder(one, value))
    case "host":
      return where(({ url }) => new URL(url).host === value)
  }
}

/** What a published invalidation is about. */
export function meant(asked: InvalidationInput): Pages {
  const { namespace, tags = [], urls = [], prefixes = [], hosts = [] } = asked
  if (asked.everything || namespace === undefined) return where(() => true)
  if (tags.length + urls.length + prefixes.length + hosts.length === 0) return reached("namespace", namespace)
  return where((one) => {
    const { host } = new URL(one.url)
    // Tags and urls are the namespace's own; what reaches further into the site reaches those below it, too.
    const own =
      one.namespace === namespace && (tags.some((tag) => one.tags.includes(tag)) || urls.includes(one.url))
    const below = prefixes.some((prefix) => isUnder(one, prefix)) || hosts.includes(host)
    return own || (below && isBelow(one.namespace, namespace))
  })
}

/** The furthest that its purges may reach: its namespace as a whole, and a label that others share. */
export function mayReach(asked: InvalidationInput): Pages {
  const { namespace, tags = [] } = asked
  if (asked.everything || namespace === undefined) return where(() => true)
  return tags.reduce((pages, tag) => pages | reached("tag", tag), reached("namespace", namespace))
}

/** What a target stands for. */
export const standsFor = (patterns: readonly string[]): Pages =>
  patterns.reduce((pages, pattern) => pages | reached("namespace", pattern), NONE)

/** What may be published: each selector lies in the namespace. */
export const SELECTORS = {
  blog: {
    tags: ["one", "two", "common", "nobody"],
    urls: ["https://www.example.com/blog/1", "https://www.example.com/blog/a/3"],
    prefixes: ["https://www.example.com/blog/a/", "https://www.example.com/blog/news/"],
    hosts: [],
  },
  "blog/news": {
    tags: ["one", "common"],
    urls: ["https://www.example.com/blog/news/2"],
    prefixes: ["https://www.example.com/blog/news/"],
    hosts: [],
  },
  shop: {
    tags: ["s-one", "common"],
    urls: ["https://shop.example.com/1", "https://shop.example.com/a/2"],
    prefixes: ["https://shop.example.com/a/"],
    hosts: ["shop.example.com"],
  },
  docs: { tags: ["d-one", "common"], urls: [], prefixes: [], hosts: [] },
} as const

/** What a history may be set in. */
export interface Setting {
  readonly tenants: 1 | 2
  readonly onUnsupported: "widen" | "skip"
  readonly resync: Mode
  readonly allowEverything: boolean
  readonly spread: "0" | "30m"
  /** Whether the second target shares a bucket of its account. */
  readonly paced: boolean
  /** Whether both targets have come to the end of a log before anything happens. */
  readonly levelled: boolean
}

const BOTH: readonly Mode[] = ["invalidate", "purge"]
const few = (batch: number, modes = BOTH) => ({ modes, batch })

/** A CDN that takes one kind a call, and knows hosts only hard; and a receiver that takes namespaces by name. */
export const CAPABILITIES: Readonly<Record<string, Capabilities>> = {
  cdn: {
    kinds: { tag: few(2), url: few(2), prefix: few(2), host: few(2, ["purge"]), everything: few(1) },
    mixed: false,
    tags: PORTABLE_CODEC,
  },
  hook: {
    kinds: { namespace: few(4), tag: few(4), prefix: few(4), everything: few(4) },
    mixed: true,
    tags: PORTABLE_CODEC,
  },
}

export const TARGETS = Object.keys(CAPABILITIES)

export function configOf({ onUnsupported, resync, spread, allowEverything }: Setting): Config {
  const target = (namespaces: string[]): NonNullable<ConfigInput["targets"]>[string] => ({
    type: "http",
    url: "https://hook.example.net/",
    secret: { secret: "HOOK_SECRET" },
    namespaces,
    tenants: ["*"],
    onUnsupported,
    allowEverything,
  })
  return parseConfig({
    namespaces: {
      blog: { prefixes: ["https://www.example.com/blog/"] },
      "blog/news": { prefixes: ["https://www.example.com/blog/news/"] },
      shop: { hosts: ["shop.example.com"], prefixes: ["https://shop.example.com/"], wholeBy: "tag" },
      docs: {},
    },
    targets: { cdn: target(["*"]), hook: target(["blog", "shop"]) },
    // Longer than any history takes in real time: leases end when the history says so.
    relay: { lease: "10m", resync: { mode: resync, spread } },
  })
}
