import { pointer as toPointer } from "../errors.ts"
import { faults } from "../invalidation.ts"
import { ancestors, type Namespace } from "../namespace.ts"
import type { Territory } from "../selector.ts"
import { DAY, type Milliseconds } from "../time.ts"
import { type Config, configSchema, type NamespaceConfig, type SourceConfig } from "./schema.ts"
import { isSecret } from "./secret.ts"
import { SOURCE_TRAITS } from "./source-options.ts"
import { parseTemplate, VARIABLES } from "./template.ts"

/** One thing that is wrong with a configuration: where, as a dotted path, and what. Never a value of it. */
export interface ConfigFault {
  readonly path: string
  readonly detail: string
}

/** Everything that is wrong with a configuration, at once. */
export class ConfigError extends Error {
  readonly faults: readonly ConfigFault[]

  constructor(faults: readonly ConfigFault[]) {
    const lines = faults.map(({ path, detail }) => `  ${path || "(the file)"}: ${detail}`)
    super(`the configuration has ${faults.length} ${faults.length === 1 ? "mistake" : "mistakes"}:\n${lines.join("\n")}`)
    this.name = "ConfigError"
    this.faults = faults
  }
}

/**
 * Reads a configuration under its strict schema and fills in the defaults. Secrets stay names.
 *
 * @throws {ConfigError} naming every mistake at once, by path, and no value
 */
export function parseConfig(input: unknown): Config {
  const read = configSchema.safeParse(input)
  if (!read.success) throw new ConfigError(faults(read.error.issues).map((fault) => dotted(fault.pointer, fault.detail)))
  const found = [...crossFaults(read.data)]
  if (found.length > 0) throw new ConfigError(found)
  return read.data
}

const dotted = (pointer: string, detail: string): ConfigFault => ({
  path: pointer.slice(1).replaceAll("/", ".").replaceAll("~1", "/").replaceAll("~0", "~"),
  detail,
})

/** What no single key can tell: names that refer to nothing, and keys that only make sense together. */
function* crossFaults(config: Config): Generator<ConfigFault> {
  const at = (path: readonly PropertyKey[], detail: string) => dotted(toPointer(path), detail)
  const names = new Set<string>()
  for (const [index, token] of config.tokens.entries()) {
    if (names.has(token.name)) yield at(["tokens", index, "name"], "is the name of an earlier token too")
    names.add(token.name)
  }
  for (const [name, source] of Object.entries(config.sources)) {
    const path = ["sources", name]
    if (!SOURCE_TRAITS[source.type].signed && source.auth === undefined) {
      yield at([...path, "auth"], `is needed: ${source.type} does not sign its deliveries`)
    }
    if (!findNamespace(config, source.tenant, source.namespace)) {
      yield at([...path, "namespace"], "is not declared in namespaces")
    }
    for (const field of Object.keys(source.fields ?? {})) {
      if (!(VARIABLES as readonly string[]).includes(field)) {
        yield at([...path, "fields", field], `is no variable: one of ${VARIABLES.join(", ")}`)
      }
    }
    yield* ruleFaults(config, source, path)
  }
}

function* ruleFaults(config: Config, source: SourceConfig, path: readonly PropertyKey[]): Generator<ConfigFault> {
  for (const [index, rule] of (source.rules ?? []).entries()) {
    const here = [...path, "rules", index]
    if (rule.namespace !== undefined && !findNamespace(config, source.tenant, rule.namespace)) {
      yield dotted(toPointer([...here, "namespace"]), "is not declared in namespaces")
    }
    for (const list of ["tags", "urls", "prefixes", "hosts"] as const) {
      for (const [position, template] of (rule[list] ?? []).entries()) {
        const parts = parseTemplate(template)
        if (typeof parts === "string") yield dotted(toPointer([...here, list, position]), parts)
      }
    }
  }
}

/** A namespace's settings with what it inherits, and every default filled in. */
export interface NamespaceSettings extends Territory {
  readonly maxCacheTtl: Milliseconds
  readonly maxTags: number
  readonly wholeBy: "tag" | "prefix" | "host"
  readonly tagPrefix: string
  readonly settle: Milliseconds | undefined
  readonly secondPass: Milliseconds | undefined
}

export const declaredNamespaces = (config: Config, tenant: string): Readonly<Record<string, NamespaceConfig>> =>
  config.tenants?.[tenant]?.namespaces ?? config.namespaces

/**
 * The settings under which a namespace is published and purged; undefined when it is neither declared nor below one
 * that is. A key that it does not set comes from the nearest ancestor that does, at last from `"*"`.
 */
export function findNamespace(config: Config, tenant: string, namespace: Namespace): NamespaceSettings | undefined {
  const declared = declaredNamespaces(config, tenant)
  const layers = [namespace, ...ancestors(namespace), "*"].map((name) => (Object.hasOwn(declared, name) ? declared[name] : undefined))
  if (layers.every((layer) => layer === undefined)) return undefined
  const inherit = <K extends keyof NamespaceConfig>(key: K) => layers.find((layer) => layer?.[key] !== undefined)?.[key]
  const hosts = inherit("hosts") ?? []
  const prefixes = inherit("prefixes") ?? []
  return {
    hosts,
    prefixes,
    maxCacheTtl: inherit("maxCacheTtl") ?? 30 * DAY,
    maxTags: inherit("maxTags") ?? 1_000_000,
    wholeBy: inherit("wholeBy") ?? (prefixes.length > 0 ? "prefix" : hosts.length > 0 ? "host" : "tag"),
    tagPrefix: inherit("tagPrefix") ?? "",
    settle: inherit("settle"),
    secondPass: inherit("secondPass"),
  }
}

/** The tenants that the configuration names: by tokens, sources, `tenants` and targets. */
export function tenantsOf(config: Config): string[] {
  const named = [
    ...config.tokens.map((token) => token.tenant),
    ...Object.values(config.sources).map((source) => source.tenant),
    ...Object.keys(config.tenants ?? {}),
    ...Object.values(config.targets).flatMap((target) => target.tenants.filter((tenant) => tenant !== "*")),
  ]
  return [...new Set(named)].toSorted()
}

/** Whether a target purges for a tenant at all. */
export const servesTenant = (target: { readonly tenants: readonly string[] }, tenant: string): boolean =>
  target.tenants.includes("*") || target.tenants.includes(tenant)

/** A configuration whose secrets stand where their names stood. Never printed, never sent. */
export type Resolved<T> = T extends { readonly secret: string }
  ? keyof T extends "secret"
    ? string
    : { [K in keyof T]: Resolved<T[K]> }
  : T extends object
    ? { [K in keyof T]: Resolved<T[K]> }
    : T

export interface MissingSecret {
  /** Where it is used: `sources.contentful-main.secret`. */
  readonly path: string
  /** Under which name it was looked for. */
  readonly name: string
}

/** Puts the secrets in place of their names, and lists those that the environment does not hold. */
export function resolveSecrets(
  config: Config,
  environment: Readonly<Record<string, unknown>>,
): { readonly config: Resolved<Config>; readonly missing: readonly MissingSecret[] } {
  const missing: MissingSecret[] = []
  const walk = (value: unknown, path: string): unknown => {
    if (isSecret(value)) {
      const held = environment[value.secret]
      if (typeof held === "string" && held !== "") return held
      missing.push({ path, name: value.secret })
      return ""
    }
    if (Array.isArray(value)) return value.map((item, index) => walk(item, `${path}.${index}`))
    if (value === null || typeof value !== "object") return value
    const members = Object.entries(value).map(([key, member]) => [key, walk(member, path === "" ? key : `${path}.${key}`)])
    return Object.fromEntries(members) as unknown
  }
  return { config: walk(config, "") as Resolved<Config>, missing }
}
