import { ConfigError, type Resolved, parseConfig, resolveSecrets } from "../protocol/config/config.ts"
import type { Config, ConfigInput } from "../protocol/config/schema.ts"
import { Problem } from "../protocol/errors.ts"
import type { Store } from "../protocol/store.ts"
import type { TargetDriver } from "../dispatch/targets/target.ts"
import { type AppOptions, createApp, type EdgeOf } from "./app.ts"
import type { Edge } from "./context.ts"
import type { SourceAdapter } from "./sources/source.ts"
import { upstashStore } from "./store.ts"

/** What a Worker exports: nothing but handlers, or workerd does not start it. */
export interface EdgeWorker {
  fetch(request: Request, bindings?: object, context?: unknown): Response | Promise<Response>
}

export interface WorkerParts extends AppOptions {
  readonly sources: readonly SourceAdapter[]
  readonly targets: readonly TargetDriver[]
  /** Instead of the one that the bindings name. */
  readonly store?: Store
  readonly now?: () => number
}

const CONFIGURED_AGAIN = 30

/** Builds the edge functions from a configuration as it is written, and just the adapters that it uses. */
export function createWorkerWith(input: ConfigInput, parts: WorkerParts): EdgeWorker {
  // A mistake is told in every answer, as a Worker that fails to start says nothing at all.
  try {
    return createEdgeWorker(parseConfig(input), parts)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const { message } = error
    return workerOf(() => {
      throw misconfigured(message)
    }, parts)
  }
}

/** The same, of a configuration that was read before: a bundle has no need of the schema then. */
export function createEdgeWorker(config: Config, parts: WorkerParts): EdgeWorker {
  const { sources, targets, store, now = Date.now } = parts
  let built: Edge | undefined
  return workerOf((bindings) => {
    built ??= {
      config,
      resolved: resolveForEdge(config, bindings, store ? [] : STORE),
      store: store ?? storeOf(bindings),
      sources: new Map(sources.map((source) => [source.type, source])),
      findDriver: (type) => targets.find((target) => target.type === type),
      now,
    }
    return built
  }, parts)
}

function workerOf(edgeOf: EdgeOf, options: AppOptions): EdgeWorker {
  const app = createApp(edgeOf, options)
  return { fetch: (request, bindings, context) => app.fetch(request, bindings, context as never) }
}

const misconfigured = (detail: string): Problem =>
  new Problem("misconfigured", detail, { retryAfter: CONFIGURED_AGAIN })

/** What the store is reached by: its address, and what it wants to see. */
const STORE = ["UPSTASH_REDIS_REST_URL", "UPSTASH_REDIS_REST_TOKEN"] as const

/** @throws {Problem} `misconfigured`, naming at once all that no binding holds: secrets, and what else is needed */
function resolveForEdge(
  config: Config,
  bindings: Readonly<Record<string, unknown>>,
  needed: readonly string[],
): Resolved<Config> {
  const { config: resolved, missing } = resolveSecrets(config, bindings)
  // Targets are called by the relay: their credentials have no business at the edge.
  const secrets = missing.filter(({ path }) => path.startsWith("tokens.") || path.startsWith("sources."))
  const names = new Set([
    ...secrets.map(({ name }) => name),
    ...needed.filter((name) => bindingOf(bindings, name) === ""),
  ])
  if (names.size === 0) return resolved
  throw misconfigured(`The Worker has no binding for ${[...names].join(", ")}.`)
}

function bindingOf(bindings: Readonly<Record<string, unknown>>, name: string): string {
  const value = bindings[name]
  return typeof value === "string" ? value : ""
}

const storeOf = (bindings: Readonly<Record<string, unknown>>): Store =>
  upstashStore({ url: bindingOf(bindings, STORE[0]), token: bindingOf(bindings, STORE[1]) })
