import { Hono } from "hono"
import { bodyLimit } from "hono/body-limit"
import { explainedAt, explainPublish, type Explanation } from "../dispatch/explain.ts"
import { findDriver } from "../dispatch/targets/list.ts"
import { MAX_BODY_BYTES } from "../protocol/invalidation.ts"
import { readRequest, requireAnyPublish, requirePublish } from "../protocol/publish-request.ts"
import { type Resolved, tenantsOf } from "../protocol/config/config.ts"
import type { Config } from "../protocol/config/schema.ts"
import { Problem, problemParts } from "../protocol/errors.ts"
import { getRecord, listRecords } from "../protocol/records-api.ts"
import { answerWords, StoreError } from "../protocol/store.ts"
import { isoTime } from "../protocol/time.ts"
import {
  authenticate,
  type Principal,
  requirePlain,
  requireScope,
  scopePatterns,
} from "../protocol/tokens.ts"
import { isHostAllowed } from "./host.ts"
import { type Metrics, seriesOf } from "./metrics.ts"
import type { RelayEmitter } from "./events.ts"
import { lanesView } from "./lanes-view.ts"
import { operateRoutes } from "./operate.ts"
import { readFleet } from "./fleet.ts"
import type { Relay } from "./relay.ts"

export interface RelayHttpOptions {
  readonly relay: Relay
  readonly metrics: Metrics
  readonly tokens: Resolved<Config>["tokens"]
  /** The address that it listens on: what a `Host` header is held against. */
  readonly host: string
  readonly events: RelayEmitter
  /** Ends the process as SIGTERM does. */
  readonly drain: () => void
}

/** What people and probes ask a relay. It accepts no publishes. */
export function relayApp({ relay, metrics, tokens, host, events, drain }: RelayHttpOptions): Hono {
  const app = new Hono()
  const principalOf = (authorization: string | undefined): Promise<Principal> =>
    authenticate(tokens, authorization, Date.now())

  app.onError((error) => {
    const { problem, body, headers } = problemParts(
      error instanceof StoreError ? unavailable(relay, error) : error,
    )
    return new Response(body, { status: problem.status, headers })
  })
  app.notFound((c) => {
    const route = ROUTES.find(([path]) => path.test(c.req.path))
    if (!route) throw new Problem("not_found", "There is nothing here.")
    const [, allow] = route
    throw new Problem("method_not_allowed", `${c.req.method} is not allowed here.`, { headers: { allow } })
  })
  app.use(async function checkHost(c, next) {
    if (!isHostAllowed(c.req.header("host"), { host, allowedHosts: undefined })) {
      throw new Problem("misdirected", "This part does not serve that host.")
    }
    await next()
  })

  app.get("/healthz", (c) => c.json({ ok: true }))
  app.get("/readyz", (c) => {
    const unready = relay.unready()
    const ready = Object.keys(unready).length === 0
    return c.json({ ready, ...(ready ? {} : { unready }), ...notesOf(relay) }, ready ? 200 : 503)
  })
  app.get("/metrics", async (c) => {
    const tenant = await metricsTenant(relay.config, () => principalOf(c.req.header("authorization")))
    const text = await metrics.registry.metrics()
    const shown = tenant === undefined ? text : seriesOf(text, tenant)
    return c.text(shown, 200, { "content-type": metrics.registry.contentType })
  })

  app.get("/v1/invalidations", async (c) => {
    const principal = await principalOf(c.req.header("authorization"))
    return c.json(
      await listRecords({ store: relay.store, principal, targets: relay.config.targets }, c.req.query()),
    )
  })
  app.get("/v1/invalidations/:id", async (c) => {
    const principal = await principalOf(c.req.header("authorization"))
    return c.json(
      await getRecord({ store: relay.store, principal, targets: relay.config.targets }, c.req.param("id")),
    )
  })
  app.post("/v1/explain", bodyLimit({ maxSize: MAX_BODY_BYTES, onError: tooLarge }), async (c) => {
    const principal = await principalOf(c.req.header("authorization"))
    requireAnyPublish(principal)
    const { invalidation, ...others } = await readExplain(c.req.text())
    const unknown = Object.keys(others)
    if (invalidation === undefined || unknown.length > 0) {
      const detail = "Here an invalidation is explained, and nothing else; webhooks are by the Worker."
      const errors = unknown.map((key) => ({ pointer: `/${key}`, detail: "is not a known member" }))
      throw new Problem("invalid_request", detail, { errors })
    }
    const { invalidations } = readRequest(invalidation)
    for (const one of invalidations) requirePublish(principal, one)
    const { tenant, name } = principal
    const asked = {
      tenant,
      by: { token: name },
      patterns: scopePatterns(principal, "publish"),
      invalidations,
      defaults: { settle: 0, secondPass: 0 },
    }
    const grounds = { config: relay.config, findDriver }
    const told = explainPublish(grounds, asked, (index) => explainedAt(invalidation, index))
    return c.json({ rule: null, rules: [], ...told } satisfies Explanation)
  })
  app.get("/v1/lanes", async (c) => {
    const principal = await principalOf(c.req.header("authorization"))
    requireScope(principal, "read", "*")
    const unready = relay.isRead(principal.tenant) ? {} : { unready: { log: "not yet read" } }
    return c.json({ items: await lanesView(relay, principal.tenant), ...unready, ...notesOf(relay) })
  })
  app.get("/v1/relays", async (c) => {
    const principal = await principalOf(c.req.header("authorization"))
    requireScope(principal, "read", "*")
    return c.json({ items: await relaysOf(relay, principal.tenant) })
  })
  operateRoutes(app, { relay, events, principalOf, drain })
  return app
}

/**
 * Whose series an asker is shown; undefined: all, with those of the process and the relay. By `fleet`, or by `metrics`
 * where there is one tenant alone.
 *
 * @throws {Problem} `unauthorized`, `insufficient_scope`
 */
async function metricsTenant(
  config: Relay["config"],
  principalOf: () => Promise<Principal>,
): Promise<string | undefined> {
  if (config.relay.publicMetrics) return undefined
  const principal = await principalOf()
  if (principal.scopes.includes("fleet")) return undefined
  requirePlain(principal, "metrics")
  const isAlone = tenantsOf(config).every((name) => name === principal.tenant)
  return isAlone ? undefined : principal.tenant
}

/** Left out where there are none. */
function notesOf(relay: Relay): { readonly notes?: ReturnType<Relay["notes"]> } {
  const notes = relay.notes()
  return Object.keys(notes).length === 0 ? {} : { notes }
}

/** What there is, and by which method. */
const ROUTES: readonly (readonly [path: RegExp, allow: string])[] = [
  [/^\/(healthz|readyz|metrics)$/, "GET"],
  [/^\/v1\/(invalidations(\/[^/]+)?|lanes|relays|dead-letters\/[^/]+)$/, "GET"],
  [/^\/v1\/(explain|resync|drain|dead-letters\/[^/]+\/[^/]+\/replay)$/, "POST"],
  [/^\/v1\/dead-letters\/[^/]+\/[^/]+$/, "DELETE"],
]

/** In Redis's own words where it answered, else by what the relay knows of it. */
function unavailable(relay: Relay, cause: StoreError): Problem {
  const words = answerWords(cause.message) ?? relay.unready()["store"] ?? "Redis did not answer"
  return new Problem("store_unavailable", `${words}.`, { retryAfter: 2, cause })
}

function tooLarge(): never {
  throw new Problem("body_too_large", `The body may have at most ${MAX_BODY_BYTES} bytes.`)
}

async function readExplain(text: Promise<string>): Promise<Readonly<Record<string, unknown>>> {
  let body: unknown
  try {
    body = JSON.parse(await text)
  } catch {
    throw new Problem("invalid_json", "The body must be JSON in UTF-8.")
  }
  return body !== null && typeof body === "object" && !Array.isArray(body) ? { ...body } : {}
}

/** Every relay of the fleet, with those of its lanes that are this tenant's. */
async function relaysOf(relay: Relay, tenant: string): Promise<unknown[]> {
  return (await readFleet(relay.store)).map(({ id, version, startedAt, heartbeatAt, lanes }) => {
    const own = lanes.filter((lane) => lane.startsWith(`${tenant}/`))
    return { id, version, startedAt: isoTime(startedAt), heartbeatAt: isoTime(heartbeatAt), lanes: own }
  })
}
