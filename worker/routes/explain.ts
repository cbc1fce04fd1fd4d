import type { Hono } from "hono"
import { explain } from "../../dispatch/explain.ts"
import { utf8 } from "../../protocol/bytes.ts"
import { type Fault, Problem } from "../../protocol/errors.ts"
import type { Invalidation, Publisher } from "../../protocol/invalidation.ts"
import { MAX_BODY_BYTES, MAX_HOOK_BODY_BYTES } from "../../protocol/invalidation.ts"
import type { PassDefaults, PassPlan } from "../../protocol/publish.ts"
import { SECOND } from "../../protocol/time.ts"
import { type Principal, requireScope } from "../../protocol/tokens.ts"
import { type Edge, type EdgeEnv, parseJsonBody, principalOf, readBody } from "../context.ts"
import { planIntake } from "../intake.ts"
import { derive, passDefaults } from "./hooks.ts"
import { invalid, readRequest, requireAnyPublish, requirePublish } from "./invalidations.ts"

/** What a publish or a delivery would do. Asks nobody, stores nothing, and wants no signature. */
export function explainRoutes(app: Hono<EdgeEnv>): void {
  app.post("/v1/explain", async (c) => {
    const principal = await principalOf(c)
    requireAnyPublish(principal)
    const { edge } = c.var
    const asked = askedOf(parseJsonBody(await readBody(c, MAX_BODY_BYTES + MAX_HOOK_BODY_BYTES)))
    const { tenant, by, invalidations, defaults, rules, notes } =
      "source" in asked ? ofDelivery(edge, principal, asked) : ofPublish(principal, asked.invalidation)
    const at = (index: number) => ("source" in asked ? [] : pathOf(asked.invalidation, index))
    const plans = planIntake(edge, { tenant, by, invalidations, defaults }, at)
    const bodies = plans.map(({ body }) => body)
    const told = explain(bodies, tenant, edge.config, (type) => edge.targets.get(type))
    return c.json({
      rule: rules[0] ?? null,
      rules,
      invalidations: plans.map(({ body, passes }, index) => ({
        ...invalidations[index],
        mode: body.mode,
        passes: passes.flatMap(passOf),
      })),
      targets: Object.fromEntries(
        Object.entries(told).map(([name, { notes: _notes, ...one }]) => [name, one]),
      ),
      notes: [
        ...notes,
        ...Object.entries(told).flatMap(([name, one]) => one.notes.map((note) => `${name}: ${note}`)),
      ],
    })
  })
}

/** Each pass, and how many seconds it comes after what it follows. */
const passOf = ({ kind, delay, secondPass }: PassPlan) => [
  { kind, seconds: delay / SECOND },
  ...(secondPass === undefined ? [] : [{ kind: "second", seconds: secondPass / SECOND }]),
]

/** What is to be explained, and on whose behalf. */
interface Explaining {
  readonly tenant: string
  readonly by: Publisher
  readonly invalidations: readonly Invalidation[]
  readonly defaults: PassDefaults
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
type Asked = AskedDelivery | { readonly invalidation: unknown }

/** @throws {Problem} `invalid_request` */
function askedOf(body: unknown): Asked {
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

/** Where an invalidation stands in what was asked: alone, or one of several. */
const pathOf = (invalidation: unknown, index: number): readonly PropertyKey[] =>
  invalidation !== null && typeof invalidation === "object" && "invalidations" in invalidation
    ? ["invalidation", "invalidations", index]
    : ["invalidation"]
