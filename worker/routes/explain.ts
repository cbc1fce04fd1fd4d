import type { Hono } from "hono"
import { explainedAt, explainPublish, type Explanation } from "../../dispatch/explain.ts"
import type { Asked } from "../../dispatch/judge.ts"
import { utf8 } from "../../protocol/bytes.ts"
import { type Fault, Problem } from "../../protocol/errors.ts"
import { MAX_BODY_BYTES, MAX_HOOK_BODY_BYTES } from "../../protocol/invalidation.ts"
import { invalid, readRequest, requireAnyPublish, requirePublish } from "../../protocol/publish-request.ts"
import { type Principal, requireScope, scopePatterns } from "../../protocol/tokens.ts"
import { type Edge, type EdgeEnv, parseJsonBody, principalOf, readBody } from "../context.ts"
import { derive, passDefaults } from "./hooks.ts"

/** What a publish or a delivery would do. Asks nobody, stores nothing, and wants no signature. */
export function explainRoutes(app: Hono<EdgeEnv>): void {
  app.post("/v1/explain", async (c) => {
    const principal = await principalOf(c)
    requireAnyPublish(principal)
    const edge = c.get("edge")
    const asked = askedOf(parseJsonBody(await readBody(c, MAX_BODY_BYTES + MAX_HOOK_BODY_BYTES)))
    const explaining =
      "source" in asked ? ofDelivery(edge, principal, asked) : ofPublish(principal, asked.invalidation)
    const at = (index: number) => ("source" in asked ? [] : explainedAt(asked.invalidation, index))
    const { rules, notes } = explaining
    const told = explainPublish(edge, explaining, at)
    return c.json({
      rule: rules[0] ?? null,
      rules,
      ...told,
      notes: [...notes, ...told.notes],
    } satisfies Explanation)
  })
}

/** What is to be explained, and on whose behalf. */
interface Explaining extends Asked {
  /** Positions of the source's rules that matched. */
  readonly rules: readonly number[]
  readonly notes: readonly string[]
}

interface AskedDelivery {
  readonly source: string
  readonly path: string
  readonly headers: Headers
  readonly body: Uint8Array<ArrayBuffer>
}
type Question = AskedDelivery | { readonly invalidation: unknown }

/** @throws {Problem} `invalid_request` */
function askedOf(body: unknown): Question {
  if (body === null || typeof body !== "object" || Array.isArray(body)) {
    throw invalid([{ pointer: "", detail: "must be an object with invalidation, or with source and body" }])
  }
  const {
    invalidation,
    source,
    path,
    headers = {},
    body: delivered,
    ...others
  } = body as Record<string, unknown>
  const faults: Fault[] = Object.keys(others).map((key) => ({
    pointer: `/${key}`,
    detail: "is not a known member",
  }))
  if ((invalidation === undefined) === (source === undefined)) {
    faults.push({ pointer: "", detail: "must have either invalidation or source" })
  }
  if (faults.length > 0) throw invalid(faults)
  if (invalidation !== undefined) return { invalidation }
  if (typeof source !== "string") faults.push({ pointer: "/source", detail: "must be the name of a source" })
  if (path !== undefined && typeof path !== "string")
    faults.push({ pointer: "/path", detail: "must be a text" })
  const isText = (value: unknown) => typeof value === "string"
  if (headers === null || typeof headers !== "object" || !Object.values(headers).every(isText)) {
    faults.push({ pointer: "/headers", detail: "must be an object of texts" })
  }
  if (delivered === undefined) faults.push({ pointer: "/body", detail: "must be what would be delivered" })
  let given = new Headers()
  try {
    given = new Headers(headers as Record<string, string>)
  } catch {
    faults.push({ pointer: "/headers", detail: "must be headers that HTTP can carry" })
  }
  if (faults.length > 0) throw invalid(faults)
  const text = typeof delivered === "string" ? delivered : JSON.stringify(delivered)
  return {
    source: String(source),
    path: typeof path === "string" ? path : `/v1/hooks/${String(source)}`,
    headers: given,
    body: utf8(text),
  }
}

function ofPublish(principal: Principal, body: unknown): Explaining {
  const { invalidations } = readRequest(body)
  for (const one of invalidations) requirePublish(principal, one)
  const { tenant, name } = principal
  return {
    tenant,
    by: { token: name },
    patterns: scopePatterns(principal, "publish"),
    invalidations,
    defaults: { settle: 0, secondPass: 0 },
    rules: [],
    notes: [],
  }
}

/** @throws {Problem} `insufficient_scope`, `unknown_source` */
function ofDelivery(
  edge: Edge,
  principal: Principal,
  { source: name, headers, path, body }: AskedDelivery,
): Explaining {
  requireScope(principal, "publish", "*")
  const config = Object.hasOwn(edge.resolved.sources, name) ? edge.resolved.sources[name] : undefined
  const adapter = config && edge.sources.get(config.type)
  // A source of another tenant is told like one that there is not.
  if (!config || !adapter || config.tenant !== principal.tenant) {
    throw new Problem("unknown_source", "No source of that name is configured.")
  }
  const derived = derive(
    edge.config,
    name,
    adapter,
    { headers, path, body },
    { config, now: edge.now, fetch: (...args) => fetch(...args) },
  )
  return { tenant: config.tenant, by: { source: name }, defaults: passDefaults(config), ...derived }
}
