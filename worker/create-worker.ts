import { partAddressProblem } from "../protocol/address.ts"
import { ConfigError, parseConfig, resolveSecrets } from "../protocol/config/config.ts"
import type { Config, ConfigInput } from "../protocol/config/schema.ts"
import { Problem } from "../protocol/errors.ts"
import type { Store } from "../protocol/store.ts"
import type { TargetTraits } from "../dispatch/targets/target.ts"
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
  readonly targets: readonly TargetTraits[]
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
      ...resolveForEdge(config, bindings, store),
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

/** What the store is reached by. Its names are looked up as those of the configuration are. */
const STORE = {
  url: { secret: "UPSTASH_REDIS_REST_URL" },
  token: { secret: "UPSTASH_REDIS_REST_TOKEN" },
}

/** @throws {Problem} `misconfigured`, naming at once all that no binding holds: secrets, and how the store is reached */
function resolveForEdge(
  config: Config,
  bindings: Readonly<Record<string, unknown>>,
  given: Store | undefined,
): Pick<Edge, "resolved" | "store"> {
  const { config: resolved, missing } = resolveSecrets({ ...config, store: STORE }, bindings)
  const needs = ["tokens.", "sources.", ...(given ? [] : ["store."])]
  // Targets are called by the relay: their credentials have no business at the edge.
  const needed = missing.filter(({ path }) => needs.some((part) => path.startsWith(part)))
  if (needed.length === 0) {
    const problem = given ? undefined : partAddressProblem(resolved.store.url)
    if (problem !== undefined) throw misconfigured(`${STORE.url.secret} ${problem}.`)
    return { resolved, store: given ?? upstashStore(resolved.store) }
  }
  const names = [...new Set(needed.map(({ name }) => name))]
  throw misconfigured(`The Worker has no binding for ${names.join(", ")}.`)
}
