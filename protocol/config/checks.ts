import { ancestors, isNamespace, isPattern, patternsOverlap } from "../namespace.ts"
import {
  checkHost,
  checkPrefix,
  hostCoversUrl,
  hostWithin,
  normalUrl,
  prefixCovers,
  type Territory,
  urlWithin,
} from "../selector.ts"
import {
  at,
  ConfigError,
  type ConfigFault,
  declarationsOf,
  itemsOf,
  type Members,
  membersOf,
  parseConfig,
  servesTenant,
  tenantsOf,
} from "./config.ts"
import { crossings, type LabelSpace } from "../label-borders.ts"
import { didYouMean } from "./nearest.ts"
import { type Config, configSchema, SCOPE_KINDS, SCOPE_NAMES } from "./schema.ts"
import { suggestions } from "./suggestions.ts"
import { VARIABLES } from "./template.ts"

/**
 * What is of the right form and can have no effect: a name that refers to nothing, a host that covers nothing, a key
 * that nothing reads yet. The command line and the relay refuse it. No Worker imports this file: its bundle is small,
 * and its configuration was read by the command line before.
 */

/**
 * Reads a configuration as `parseConfig` does, and by all that stands here.
 *
 * @throws {ConfigError} naming every mistake at once, by path, and no value
 */
export function checkConfig(input: unknown): Config {
  const found: ConfigFault[] = []
  let config: Config | undefined
  try {
    config = parseConfig(input)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const meant = new Map([...suggestions(configSchema, input), ...wordSuggestions(membersOf(input))])
    found.push(
      ...error.faults.map(({ path, detail }) => ({ path, detail: detail + (meant.get(path) ?? "") })),
    )
  }
  const told = new Set(found.map(({ path }) => path))
  found.push(...effectFaults(membersOf(input)).filter(({ path }) => !told.has(path)))
  // What is done with a poll is never done more often.
  if (config?.relay.idle !== undefined && config.relay.idle < config.relay.poll)
    found.push(at(["relay", "idle"], "must be at least relay.poll"))
  if (config === undefined || found.length > 0) throw new ConfigError(found)
  return config
}

/** What was most likely meant by words that the schema knows as texts of a form, by the path of the mistake. */
function* wordSuggestions(file: Members): Generator<[path: string, text: string]> {
  const meant = (path: readonly PropertyKey[], word: unknown, candidates: readonly string[]) => {
    const text = typeof word === "string" ? didYouMean(word, candidates) : ""
    return [at(path, "").path, text] as [string, string]
  }
  for (const [index, token] of itemsOf(file["tokens"]).entries()) {
    for (const [position, scope] of itemsOf(membersOf(token)["scopes"]).entries()) {
      const [kind = "", ...rest] = typeof scope === "string" ? scope.split(":") : []
      const known = rest.length > 0 ? SCOPE_KINDS : [...SCOPE_NAMES, ...SCOPE_KINDS]
      yield meant(["tokens", index, "scopes", position], kind, known)
    }
  }
  for (const [name, item] of Object.entries(membersOf(file["sources"]))) {
    const source = membersOf(item)
    const declared = Object.keys(declarationsOf(file, tenantOf(source)))
    yield meant(["sources", name, "namespace"], source["namespace"], declared)
    yield meant(["sources", name, "auth"], String(source["auth"]).split(":")[0], AUTH_KINDS)
    for (const field of Object.keys(membersOf(source["fields"])))
      yield meant(["sources", name, "fields", field], field, VARIABLES)
    for (const [index, rule] of itemsOf(source["rules"]).map(membersOf).entries()) {
      const here = ["sources", name, "rules", index]
      yield meant([...here, "namespace"], rule["namespace"], declared)
      for (const variable of Object.keys(membersOf(rule["when"])))
        yield meant([...here, "when", variable], variable, VARIABLES)
    }
  }
}

const AUTH_KINDS = ["bearer", "basic", "body", "header", "query"]

/**
 * Prefixes of tags by which a publisher could reach the pages of others at a cache that both share. `config check`
 * refuses them; whatever purges already starts with them, as each publish is held against them too.
 */
export const borderFaults = (config: Config): ConfigFault[] =>
  crossings(config).map(({ from, to, target }) =>
    at(
      [...placeOf(config, to), "tagPrefix"],
      `lets tags of ${at(placeOf(config, from), "").path}, by its own tagPrefix, be labels of this one at the cache of ${target}: neither prefix may begin with the other`,
    ),
  )

const placeOf = (config: Config, { tenant, namespace }: LabelSpace): string[] => [
  ...(config.tenants?.[tenant] ? ["tenants", tenant] : []),
  "namespaces",
  namespace,
]

/** What is taken, and is likely not what was meant. */
export function configWarnings(config: Config): ConfigFault[] {
  const found: ConfigFault[] = borderFaults(config)
  if (config.relay.cors.length > 0)
    found.push(at(["relay", "cors"], "nothing reads it yet: no other site may ask the relay"))
  for (const name of Object.keys(config.notify ?? {}))
    found.push(at(["notify", name], "nothing reads it yet: nobody is told, so watch /metrics and /v1/lanes"))
  const hasTenants = tenantsOf(config).length > 1
  for (const [index, { scopes, tenant }] of config.tokens.entries()) {
    for (const [position, scope] of scopes.entries()) {
      if (hasTenants && tenant !== "default" && (scope === "drain" || scope === "fleet"))
        found.push(
          at(
            ["tokens", index, "scopes", position],
            `is about the relays of every tenant, and the token is one of ${tenant}`,
          ),
        )
      if (scope.startsWith("events:"))
        found.push(
          at(["tokens", index, "scopes", position], "allows nothing yet: there are no events to hear"),
        )
    }
  }
  for (const [name, own] of Object.entries(config.namespaces))
    found.push(...unreached(["namespaces", name], own))
  for (const [tenant, { namespaces }] of Object.entries(config.tenants ?? {}))
    for (const [name, own] of Object.entries(namespaces))
      found.push(...unreached(["tenants", tenant, "namespaces", name], own))
  const targets = Object.values(config.targets)
  const unpurged = (names: readonly string[], of: typeof targets): string[] =>
    names.filter((name) => !of.some(({ namespaces }) => overlapsAny(name, namespaces)))
  if (targets.length > 0) {
    for (const name of unpurged(Object.keys(config.namespaces), targets))
      found.push(at(["namespaces", name], NO_TARGET))
    for (const [tenant, { namespaces }] of Object.entries(config.tenants ?? {})) {
      const theirs = targets.filter((target) => servesTenant(target, tenant))
      for (const name of unpurged(Object.keys(namespaces), theirs))
        found.push(at(["tenants", tenant, "namespaces", name], NO_TARGET))
    }
  }
  return found
}

/** Pages that a namespace owns, and that stay when all of it is purged: some may mean that. */
function* unreached(path: readonly string[], own: Config["namespaces"][string]): Generator<ConfigFault> {
  const { hosts = [], prefixes = [], wholeBy = prefixes.length > 0 ? "prefix" : "host" } = own
  if (hosts.length === 0 || prefixes.length === 0) return
  for (const [index, host] of wholeBy === "prefix" ? hosts.entries() : []) {
    if (HOST.test(host) && !prefixes.some((prefix) => hostCoversUrl(host, prefix)))
      yield at(
        [...path, "hosts", index],
        'stays when all of the namespace is purged: that is said by its prefixes, and none lies at this host. Give it one, or set wholeBy to "host" or "tag"',
      )
  }
  for (const [index, prefix] of wholeBy === "host" ? prefixes.entries() : []) {
    if (!hosts.some((host) => hostCoversUrl(host, prefix)))
      yield at(
        [...path, "prefixes", index],
        'lies outside of all hosts, by which all of the namespace is purged. Name its host, or set wholeBy to "prefix" or "tag"',
      )
  }
}

const NO_TARGET = "no target purges it: what is published there only raises epochs"

const overlapsAny = (pattern: string, others: readonly string[]): boolean =>
  others.some((other) => patternsOverlap(pattern, other))

/** Of a file as it was written: what is not of the right form, the schema tells. */
function effectFaults(file: Members): ConfigFault[] {
  return [
    ...notifyFaults(file),
    ...tokenFaults(file),
    ...targetFaults(file),
    ...sourceFaults(file),
    ...namespaceFaults(file, ["namespaces"], membersOf(file["namespaces"])),
    ...Object.entries(membersOf(file["tenants"])).flatMap(([tenant, own]) => [
      ...namespaceFaults(file, ["tenants", tenant, "namespaces"], membersOf(membersOf(own)["namespaces"])),
    ]),
  ]
}

/** What may be told of: the events of `notify` and of the relay's stream, as they are named for good. */
const EVENTS = [
  "invalidated",
  "purged",
  "failed",
  "stuck",
  "recovered",
  "resynced",
  "refused",
  "relayLost",
  "reset",
]

/** An event that never happens is never told of. */
function notifyFaults(file: Members): ConfigFault[] {
  return Object.entries(membersOf(file["notify"])).flatMap(([name, one]) =>
    itemsOf(membersOf(one)["events"]).flatMap((event, index) =>
      typeof event !== "string" || EVENTS.includes(event)
        ? []
        : [at(["notify", name, "events", index], `is no event${didYouMean(event, EVENTS)}`)],
    ),
  )
}

/** Tenants of which there is more than their name: those that somebody publishes for. */
function publishingTenants(file: Members): Set<string> {
  const named = [...itemsOf(file["tokens"]), ...Object.values(membersOf(file["sources"]))]
  const tenants = named.map((one) => membersOf(one)["tenant"]).filter((tenant) => typeof tenant === "string")
  return new Set(["default", ...tenants, ...Object.keys(membersOf(file["tenants"]))])
}

const tenantOf = (member: Members): string =>
  typeof member["tenant"] === "string" ? member["tenant"] : "default"

const UNDECLARED = "names what is not declared in namespaces"

/** Why a pattern covers nothing of these tenants; undefined where it covers something. */
function patternProblem(file: Members, tenants: readonly string[], pattern: string): string | undefined {
  const declared = tenants.flatMap((tenant) => Object.keys(declarationsOf(file, tenant)))
  if (overlapsAny(pattern, declared) || pattern === "*") return undefined
  return UNDECLARED + didYouMean(pattern, declared)
}

function* tokenFaults(file: Members): Generator<ConfigFault> {
  for (const [index, item] of itemsOf(file["tokens"]).entries()) {
    const token = membersOf(item)
    for (const [position, scope] of itemsOf(token["scopes"]).entries()) {
      if (typeof scope !== "string") continue
      const colon = scope.indexOf(":")
      const [kind, pattern] = [scope.slice(0, colon), scope.slice(colon + 1)]
      if (colon < 0 || !SCOPE_KINDS.includes(kind) || !isPattern(pattern)) continue
      const problem = patternProblem(file, [tenantOf(token)], pattern)
      if (problem !== undefined) yield at(["tokens", index, "scopes", position], problem)
    }
    yield* withoutNamespaces(file, ["tokens", index, "tenant"], token)
  }
}

/** A tenant that has namespaces of its own where others have, and none are shared: a name that was mistyped. */
function* withoutNamespaces(
  file: Members,
  path: readonly PropertyKey[],
  member: Members,
): Generator<ConfigFault> {
  const tenants = Object.keys(membersOf(file["tenants"]))
  if (tenants.length === 0 || Object.keys(declarationsOf(file, tenantOf(member))).length > 0) return
  yield at(path, `is a tenant for which no namespace is declared${didYouMean(tenantOf(member), tenants)}`)
}

function* targetFaults(file: Members): Generator<ConfigFault> {
  const known = publishingTenants(file)
  for (const [name, item] of Object.entries(membersOf(file["targets"]))) {
    const target = membersOf(item)
    const listed = itemsOf(target["tenants"]).filter((tenant) => typeof tenant === "string")
    const named = listed.length === 0 ? ["default"] : listed
    const tenants = named.includes("*") ? [...known] : named
    for (const [index, tenant] of listed.entries()) {
      if (tenant === "*" || known.has(tenant)) continue
      yield at(
        ["targets", name, "tenants", index],
        `is a tenant that no token, no source and no key of tenants names${didYouMean(tenant, known)}`,
      )
    }
    const patterns = itemsOf(target["namespaces"]).filter((text) => typeof text === "string")
    for (const [index, pattern] of patterns.entries()) {
      const problem = isPattern(pattern) ? patternProblem(file, tenants, pattern) : undefined
      if (problem !== undefined) yield at(["targets", name, "namespaces", index], problem)
    }
    const territories = tenants.flatMap((tenant) =>
      Object.keys(declarationsOf(file, tenant))
        .filter((declared) => overlapsAny(declared, patterns))
        .map((declared) => territoryOf(file, tenant, declared)),
    )
    for (const [index, origin] of itemsOf(membersOf(target["verify"])["origins"]).entries()) {
      const url = typeof origin === "string" ? normalUrl(origin) : undefined
      if (url === undefined || territories.some((territory) => !territory || mayHold(territory, url, false)))
        continue
      yield at(
        ["targets", name, "verify", "origins", index],
        "is where no namespace of this target has a page",
      )
    }
  }
}

/**
 * Where a namespace's pages live, with what it inherits; undefined where that cannot be read, which the schema tells.
 */
function territoryOf(file: Members, tenant: string, namespace: string): Territory | undefined {
  const declared = declarationsOf(file, tenant)
  const layers = [...new Set([namespace, ...ancestors(namespace), "*"])].map((name) =>
    membersOf(declared[name]),
  )
  const texts = (key: string, check: typeof checkHost): readonly string[] | undefined => {
    const own = layers.find((layer) => layer[key] !== undefined)?.[key] ?? []
    const read = itemsOf(own).map((text) => (typeof text === "string" ? check(text) : { problem: "" }))
    return Array.isArray(own) && read.every((one) => "value" in one)
      ? read.map(({ value }) => value)
      : undefined
  }
  const [hosts, prefixes] = [texts("hosts", checkHost), texts("prefixes", checkPrefix)]
  return hosts && prefixes && { hosts, prefixes }
}

/**
 * Whether a url lies within, or another that goes on where it ends.
 *
 * @param isWhole whether nothing follows
 */
function mayHold(territory: Territory, url: string, isWhole: boolean): boolean {
  if (urlWithin(url, territory)) return true
  return !isWhole && territory.prefixes.some((prefix) => prefix.startsWith(url) || prefixCovers(url, prefix))
}

const OUTSIDE = "lies outside of the hosts and prefixes of its namespace, and reaches nothing"

function* sourceFaults(file: Members): Generator<ConfigFault> {
  for (const [name, item] of Object.entries(membersOf(file["sources"]))) {
    const source = membersOf(item)
    yield* withoutNamespaces(file, ["sources", name, "tenant"], source)
    for (const [index, rule] of itemsOf(source["rules"]).map(membersOf).entries()) {
      const namespace = rule["namespace"] ?? source["namespace"]
      if (typeof namespace !== "string" || !isNamespace(namespace)) continue
      const territory = territoryOf(file, tenantOf(source), namespace)
      if (!territory) continue
      for (const list of ["urls", "prefixes", "hosts"] as const) {
        for (const [position, template] of itemsOf(rule[list]).entries()) {
          if (typeof template !== "string" || reaches(territory, list, template)) continue
          yield at(["sources", name, "rules", index, list, position], OUTSIDE)
        }
      }
    }
  }
}

/** Whether what a template makes may lie within. One whose host is only known from a delivery may, where any url can. */
function reaches(territory: Territory, list: "urls" | "prefixes" | "hosts", template: string): boolean {
  if (territory.hosts.length + territory.prefixes.length === 0) return false
  const [literal = ""] = template.split("{")
  const isWhole = literal === template
  if (list === "hosts") {
    const host = isWhole ? checkHost(template) : { problem: "" }
    return !("value" in host) || hostWithin(host.value, territory)
  }
  const url = isWhole || /^https?:\/\/[^/?#]+[/?#]/.test(literal) ? normalUrl(literal) : undefined
  return url === undefined || mayHold(territory, url, isWhole)
}

/** Names as they stand in a url. Any other character, `*` among them, stands in no url that a page has. */
const HOST = /^(?:\[[0-9a-f:.]+\]|[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*)(?::\d+)?$/

/** @param path where the namespaces are declared */
function* namespaceFaults(file: Members, path: readonly string[], declared: Members): Generator<ConfigFault> {
  const tenant = path[0] === "tenants" ? (path[1] ?? "") : "default"
  for (const [name, item] of Object.entries(declared)) {
    const own = membersOf(item)
    const here = [...path, name]
    for (const [index, text] of itemsOf(own["hosts"]).entries()) {
      const host = typeof text === "string" ? checkHost(text) : { problem: "" }
      if ("value" in host && !HOST.test(host.value))
        yield at(
          [...here, "hosts", index],
          "covers nothing: no page has a host of that form. One name an item",
        )
    }
    if (path[0] === "namespaces" && membersOf(file["tenants"])["default"] !== undefined) continue
    const territory = territoryOf(file, tenant, name)
    if (territory) yield* wholeFaults(here, own, territory)
  }
}

/** An invalidation of all of a namespace is said by one kind: pages that it cannot name would stay. */
function* wholeFaults(
  path: readonly string[],
  own: Members,
  { hosts, prefixes }: Territory,
): Generator<ConfigFault> {
  if (own["wholeBy"] === "host" && hosts.length === 0)
    yield at([...path, "wholeBy"], "needs hosts, and there are none")
  if (own["wholeBy"] === "prefix" && prefixes.length === 0)
    yield at([...path, "wholeBy"], "needs prefixes, and there are none")
}
