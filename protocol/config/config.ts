import { pointer as toPointer } from "../errors.ts"
import { faults, SELECTOR_LISTS } from "../invalidation.ts"
import { ancestors, isNamespace, type Namespace } from "../namespace.ts"
import type { Territory } from "../selector.ts"
import { DAY, type Milliseconds } from "../time.ts"
import { type Config, configSchema, type NamespaceConfig } from "./schema.ts"
import { isSecret } from "./secret.ts"
import { SOURCE_TRAITS, type SourceType } from "./source-options.ts"
import { parseTemplate, VARIABLES } from "./template.ts"

/** One thing that is wrong with a configuration: where, as a dotted path, and what. Never a value of it. */
export interface ConfigFault {
  readonly path: string
  readonly detail: string
}

/** Everything that is wrong with a configuration, at once. */
export class ConfigError extends Error {
  readonly faults: readonly ConfigFault[]

  constructor(found: readonly ConfigFault[]) {
    const lines = found.map(({ path, detail }) => `  ${path || "(the file)"}: ${detail}`)
    super(
      `the configuration has ${found.length} ${found.length === 1 ? "mistake" : "mistakes"}:\n${lines.join("\n")}`,
    )
    this.name = "ConfigError"
    this.faults = found
  }
}

/**
 * Reads a configuration under its strict schema and fills in the defaults. Secrets stay names.
 *
 * @throws {ConfigError} naming every mistake at once, by path, and no value
 */
export function parseConfig(input: unknown): Config {
  const read = configSchema.safeParse(input)
  const issues = read.success
    ? []
    : faults(read.error.issues).map((fault) => dotted(fault.pointer, fault.detail))
  const found = [...issues, ...crossFaults(input)]
  if (!read.success || found.length > 0) throw new ConfigError(found)
  return read.data
}

const dotted = (pointer: string, detail: string): ConfigFault => ({
  path: pointer.slice(1).replaceAll("/", ".").replaceAll("~1", "/").replaceAll("~0", "~"),
  detail,
})

/** A mistake at a place of the file. */
export const at = (path: readonly PropertyKey[], detail: string): ConfigFault =>
  dotted(toPointer(path), detail)

/** An object of the file as it was written, of which nothing is known yet. */
export type Members = Readonly<Record<string, unknown>>

/** The members of what may be an object; none, of what is none. */
export const membersOf = (value: unknown): Members =>
  value !== null && typeof value === "object" && !Array.isArray(value) ? { ...value } : {}

/** The items of what may be a list; none, of what is none. */
export const itemsOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

/**
 * What no single key can tell: names that refer to nothing, and keys that only make sense together. It looks at the
 * file as it was written, so that these are told in one breath with what the schema found; what is not of the right
 * form, the schema tells.
 */
function* crossFaults(input: unknown): Generator<ConfigFault> {
  const file = membersOf(input)
  const names = new Set<unknown>()
  for (const [index, token] of itemsOf(file["tokens"]).entries()) {
    const { name } = membersOf(token)
    if (names.has(name)) yield at(["tokens", index, "name"], "is the name of an earlier token too")
    if (typeof name === "string") names.add(name)
  }
  for (const [name, source] of Object.entries(membersOf(file["sources"]))) {
    const path = ["sources", name]
    const { type, auth, namespace, tenant, fields, rules } = membersOf(source)
    if (isSourceType(type) && !SOURCE_TRAITS[type].signed && auth === undefined) {
      yield at([...path, "auth"], `is needed: ${type} does not sign its deliveries`)
    }
    const isUndeclared = (text: unknown): boolean =>
      typeof text === "string" &&
      isNamespace(text) &&
      !isDeclared(file, typeof tenant === "string" ? tenant : "default", text)
    if (isUndeclared(namespace)) yield at([...path, "namespace"], "is not declared in namespaces")
    for (const field of Object.keys(membersOf(fields))) {
      if (!(VARIABLES as readonly string[]).includes(field)) {
        yield at([...path, "fields", field], `is no variable: one of ${VARIABLES.join(", ")}`)
      }
    }
    for (const [index, item] of itemsOf(rules).entries()) {
      const rule = membersOf(item)
      const here = [...path, "rules", index]
      if (isUndeclared(rule["namespace"])) yield at([...here, "namespace"], "is not declared in namespaces")
      for (const list of SELECTOR_LISTS) {
        for (const [position, template] of itemsOf(rule[list]).entries()) {
          const parts = typeof template === "string" ? parseTemplate(template) : []
          if (typeof parts === "string") yield at([...here, list, position], parts)
        }
      }
    }
  }
}

const isSourceType = (type: unknown): type is SourceType =>
  typeof type === "string" && Object.hasOwn(SOURCE_TRAITS, type)

/** What a tenant's namespaces are declared by, as it was written. */
export function declarationsOf(file: Members, tenant: string): Members {
  const own = membersOf(membersOf(file["tenants"])[tenant])
  return membersOf(own["namespaces"] ?? file["namespaces"])
}

function isDeclared(file: Members, tenant: string, namespace: Namespace): boolean {
  const declared = declarationsOf(file, tenant)
  return [namespace, ...ancestors(namespace), "*"].some((name) => Object.hasOwn(declared, name))
}

/** A namespace's settings with what it inherits, and every default filled in. */
export interface NamespaceSettings extends Territory {
  readonly maxCacheTtl: Milliseconds
  readonly maxTags: number
  readonly wholeBy: "tag" | "prefix" | "host"
  readonly tagPrefix: string
  /** Undefined: where responses carry labels in a header. */
  readonly overflowTag: boolean | undefined
  readonly settle: Milliseconds | undefined
  readonly secondPass: Milliseconds | undefined
}

export const declaredNamespaces = (
  config: Config,
  tenant: string,
): Readonly<Record<string, NamespaceConfig>> => config.tenants?.[tenant]?.namespaces ?? config.namespaces

/**
 * The settings under which a namespace is published and purged; undefined when it is neither declared nor below one
 * that is. A key that it does not set comes from the nearest ancestor that does, at last from `"*"`.
 */
export function findNamespace(
  config: Config,
  tenant: string,
  namespace: Namespace,
): NamespaceSettings | undefined {
  const declared = declaredNamespaces(config, tenant)
  const layers = [namespace, ...ancestors(namespace), "*"].map((name) =>
    Object.hasOwn(declared, name) ? declared[name] : undefined,
  )
  if (layers.every((layer) => layer === undefined)) return undefined
  const inherit = <K extends keyof NamespaceConfig>(key: K) =>
    layers.find((layer) => layer?.[key] !== undefined)?.[key]
  const hosts = inherit("hosts") ?? []
  const prefixes = inherit("prefixes") ?? []
  return {
    hosts,
    prefixes,
    maxCacheTtl: inherit("maxCacheTtl") ?? 30 * DAY,
    maxTags: inherit("maxTags") ?? 1_000_000,
    wholeBy: inherit("wholeBy") ?? (prefixes.length > 0 ? "prefix" : hosts.length > 0 ? "host" : "tag"),
    tagPrefix: inherit("tagPrefix") ?? "",
    overflowTag: inherit("overflowTag"),
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
export function resolveSecrets<T extends object>(
  config: T,
  environment: Readonly<Record<string, unknown>>,
): { readonly config: Resolved<T>; readonly missing: readonly MissingSecret[] } {
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
    const members = Object.entries(value).map(([key, member]) => [
      key,
      walk(member, path === "" ? key : `${path}.${key}`),
    ])
    return Object.fromEntries(members) as unknown
  }
  return { config: walk(config, "") as Resolved<T>, missing }
}
