import { declaredNamespaces, findNamespace, servesTenant, tenantsOf } from "./config/config.ts"
import type { Config, TargetConfig } from "./config/schema.ts"
import { matchesAny, type Namespace, patternsOverlap } from "./namespace.ts"
import { foldLabel, isOwnLabel } from "./selector.ts"

/**
 * Whose labels stand at which cache, and whether a tag would reach those of others. The rule, and why it is so, stands
 * in docs/design/labels.md.
 */

/** The labels of a namespace as it is declared. */
export interface LabelSpace {
  readonly tenant: string
  /** `*` too. */
  readonly namespace: Namespace
  /** `tagPrefix`, folded. */
  readonly prefix: string
  /** The names of targets, by the caches that they purge. */
  readonly caches: ReadonlyMap<string, string>
}

/** Targets that no label is ever sent to. */
const WITHOUT_TAGS = /^(azure-front-door|cloudflare-kv|edge-config|gcore|nginx|print)$/

/** The options that say which cache a target is. */
const PLACE = [
  "distribution",
  "endpoints",
  "host",
  "project",
  "pullZone",
  "service",
  "site",
  "url",
  "urlMap",
  "zone",
] as const

/** The same for two targets that purge one cache, as one may be listed once for each tenant. */
function cacheOf(target: TargetConfig): string {
  const options = target as Readonly<Record<string, unknown>>
  const place = PLACE.map((option) => options[option] ?? null)
  return `${target.type} ${JSON.stringify(place).toLowerCase()}`
}

/** Every declared namespace, where prefixes differ at all; nothing where all have the same. */
function labelSpaces(config: Config): readonly LabelSpace[] {
  const known = found.get(config)
  if (known) return known
  const targets = Object.entries(config.targets).filter(([, { type }]) => !WITHOUT_TAGS.test(type))
  const spaces = tenantsOf(config).flatMap((tenant) =>
    Object.keys(declaredNamespaces(config, tenant)).map((namespace): LabelSpace => {
      const own = targets.filter(
        ([, target]) =>
          servesTenant(target, tenant) &&
          target.namespaces.some((pattern) => patternsOverlap(pattern, namespace)),
      )
      const { tagPrefix = "" } = findNamespace(config, tenant, namespace) ?? {}
      const caches = new Map(own.map(([name, target]) => [cacheOf(target), name]))
      return { tenant, namespace, prefix: foldLabel(tagPrefix), caches }
    }),
  )
  const isOne = spaces.every(({ prefix }) => prefix === spaces[0]?.prefix)
  found.set(config, isOne ? [] : spaces)
  return isOne ? [] : spaces
}

/** By the configuration, which is read once and never changed. */
const found = new WeakMap<Config, readonly LabelSpace[]>()

/** One tag that reaches labels of others. */
export interface Stray {
  /** Its place in the list that was given. */
  readonly index: number
  /** What is said of it: with the target at which, and without a word of whose labels those are. */
  readonly detail: string
}

/**
 * The tags, published in a namespace, that would reach pages of others.
 *
 * @param patterns the namespaces of the tenant that their publisher may publish in
 */
export function strayTags(
  config: Config,
  {
    tenant,
    namespace,
    tags,
  }: { readonly tenant: string; readonly namespace: Namespace; readonly tags: readonly string[] },
  patterns: readonly string[],
): readonly Stray[] {
  const spaces = labelSpaces(config)
  const settings = spaces.length > 0 && tags.length > 0 ? findNamespace(config, tenant, namespace) : undefined
  if (!settings) return []
  const { tagPrefix } = settings
  const own = foldLabel(tagPrefix)
  const caches = new Set(
    Object.values(config.targets)
      .filter((target) => servesTenant(target, tenant) && matchesAny(namespace, target.namespaces))
      .map(cacheOf),
  )
  // By prefix, as many namespaces have the same one.
  const others = new Map<string, { readonly target: string; readonly whose: string }>()
  for (const space of spaces) {
    if (space.prefix === own || others.has(space.prefix)) continue
    if (space.tenant === tenant && matchesAny(space.namespace, patterns)) continue
    const cache = [...space.caches].find(([each]) => caches.has(each))
    if (!cache) continue
    const whose = space.tenant === tenant ? "another namespace" : "another tenant"
    others.set(space.prefix, { target: cache[1], whose })
  }
  if (others.size === 0) return []
  return tags.flatMap((tag, index) => {
    const label = foldLabel(tagPrefix + tag)
    for (const [prefix, { target, whose }] of others) {
      if (reaches(label, own, prefix))
        return [{ index, detail: `would be a label of ${whose} at the cache of ${target}` }]
    }
    return []
  })
}

function reaches(label: string, own: string, other: string): boolean {
  if (!label.startsWith(other)) return false
  return !own.startsWith(other) || isOwnLabel(label.slice(other.length))
}

/** Two declared namespaces of which tags of the first can stray into the second. */
export interface Crossing {
  readonly from: LabelSpace
  readonly to: LabelSpace
  /** A target at which they meet. */
  readonly target: string
}

/**
 * Where tags can stray at all: the second prefix begins with the first, and somebody who may publish in the first
 * namespace may not in the second. Each pair of prefixes is told once.
 */
export function crossings(config: Config): readonly Crossing[] {
  const crossing = new Map<string, Crossing>()
  const spaces = labelSpaces(config)
  for (const from of spaces) {
    for (const to of spaces) {
      if (to.prefix === from.prefix || !to.prefix.startsWith(from.prefix)) continue
      const key = JSON.stringify([from.tenant, from.prefix, to.tenant, to.prefix])
      const cache = crossing.has(key) ? undefined : [...from.caches].find(([each]) => to.caches.has(each))
      if (cache && isBorder(config, from, to)) crossing.set(key, { from, to, target: cache[1] })
    }
  }
  return [...crossing.values()]
}

function isBorder(config: Config, from: LabelSpace, to: LabelSpace): boolean {
  if (from.tenant !== to.tenant) return true
  const publishers = [
    ...config.tokens.filter(({ tenant }) => tenant === from.tenant).map(patternsOfScopes),
    ...Object.values(config.sources)
      .filter(({ tenant }) => tenant === from.tenant)
      .map(namespacesOf),
  ]
  return publishers.some(
    (patterns) =>
      patterns.some((pattern) => patternsOverlap(pattern, from.namespace)) &&
      !matchesAny(to.namespace, patterns),
  )
}

const PUBLISH = "publish:"

/** The namespaces that a token may publish in, as patterns. */
const patternsOfScopes = ({ scopes }: { readonly scopes: readonly string[] }): string[] =>
  scopes.filter((scope) => scope.startsWith(PUBLISH)).map((scope) => scope.slice(PUBLISH.length))

/** Those that a source may speak of: its own and those of its rules. */
export const namespacesOf = ({
  namespace,
  rules = [],
}: Pick<Config["sources"][string], "namespace" | "rules">): string[] => [
  namespace,
  ...rules.flatMap((rule) => rule.namespace ?? []),
]
