import { ALL_SCOPES, type Config } from "../protocol/config/schema.ts"
import { moduleFile } from "./package-root.ts"

/** What `tidemark dev` adds to a Worker, and no deployed one knows. */
export interface DevelopmentExtras {
  readonly tokenSha256: string
  /** Whose token it is. @default "default" */
  readonly tenant?: string
  /** Targets whose secrets are missing. */
  readonly off: readonly string[]
  /** Tokens whose hashes are missing. */
  readonly withoutHash: readonly string[]
  readonly hosts: readonly string[]
  /** Whether it tells of publishes and webhooks, a line each on its console. */
  readonly isTelling: boolean
}

const camelCase = (name: string): string =>
  name.replaceAll(/-([a-z0-9])/g, (_, char: string) => char.toUpperCase())

const unique = (types: readonly string[]): string[] => [...new Set(types)].toSorted()

/**
 * The module that a Worker is bundled from: the configuration, and just the sources and targets that it uses. A file
 * of either is named after its type, and exports it in camel case; of a target, its traits as `<type>Traits`.
 */
export function workerEntry(config: Config, development?: DevelopmentExtras): string {
  const effective = development ? developed(config, development) : config
  const sources = unique(Object.values(effective.sources).map(({ type }) => type))
  const targets = unique(Object.values(effective.targets).map(({ type }) => type))
  const imports = [
    ...sources.map((type) => importLine(camelCase(type), "source", `worker/sources/${type}`)),
    // What they can do, and not how they are asked: a Worker calls none.
    ...targets.map((type) => importLine(`${camelCase(type)}Traits`, "target", `dispatch/targets/${type}`)),
  ]
  const parts = [
    `sources: [${sources.map((type) => local("source", type)).join(", ")}]`,
    `targets: [${targets.map((type) => `${local("target", type)}Traits`).join(", ")}]`,
    ...(development ? [`hosts: ${JSON.stringify(development.hosts)}`] : []),
  ]
  const worker = `createEdgeWorker(config, { ${parts.join(", ")} })`
  return [
    "// Written by tidemark for one configuration. Do not edit.",
    `import { createEdgeWorker } from ${JSON.stringify(moduleFile("worker/create-worker"))}`,
    ...(development?.isTelling
      ? [`import { telling } from ${JSON.stringify(moduleFile("worker/told"))}`]
      : []),
    ...imports,
    // As it was read: its mistakes are told before anything is deployed, and its schema stays out of the bundle. So does
    // what only relays read, but for how often they say that they live.
    `const config = ${JSON.stringify({ ...effective, relay: { poll: effective.relay.poll }, notify: undefined })}`,
    development?.isTelling
      ? `export default telling(${worker}, (line) => console.log(line))`
      : `export default ${worker}`,
    "",
  ].join("\n")
}

const local = (kind: string, type: string): string => `${kind}_${camelCase(type)}`

const importLine = (name: string, kind: string, module: string): string =>
  `import { ${name} as ${kind}_${name} } from ${JSON.stringify(moduleFile(module))}`

/** One token of development's own; what lacks a secret is left out, where a deployed Worker would refuse to answer. */
function developed(
  config: Config,
  { tokenSha256, tenant = "default", off, withoutHash }: DevelopmentExtras,
): Config {
  const dev = { name: "dev", tenant, sha256: tokenSha256, scopes: ALL_SCOPES }
  return {
    ...config,
    tokens: [...config.tokens.filter(({ name }) => name !== "dev" && !withoutHash.includes(name)), dev],
    targets: Object.fromEntries(Object.entries(config.targets).filter(([name]) => !off.includes(name))),
  }
}
