import type { Hono } from "hono"
import { fingerprint } from "../../protocol/canonical.ts"
import { Problem } from "../../protocol/errors.ts"
import { MAX_BODY_BYTES } from "../../protocol/invalidation.ts"
import { readRequest, requireAnyPublish, requirePublish } from "../../protocol/publish-request.ts"
import type { Idempotency } from "../../protocol/publish.ts"
import { getRecord, isUnattended, listRecords } from "../../protocol/records-api.ts"
import type { InvalidationRecord } from "../../protocol/record.ts"
import { type Principal, scopePatterns } from "../../protocol/tokens.ts"
import { SECOND } from "../../protocol/time.ts"
import { type EdgeContext, type EdgeEnv, parseJsonBody, principalOf, readBody } from "../context.ts"
import { type Accepted, takeIn } from "../intake.ts"

/** Publishing and what became of it. */
export function invalidationRoutes(app: Hono<EdgeEnv>): void {
  app.post("/v1/invalidations", async (c) => {
    const principal = await principalOf(c)
    requireAnyPublish(principal)
    const key = idempotencyKeyOf(c)
    const body = parseJsonBody(await readBody(c, MAX_BODY_BYTES))
    const { invalidations, batch } = readRequest(body)
    for (const invalidation of invalidations) requirePublish(principal, invalidation)
    const trace = traceOf(c)
    const { accepted } = await takeIn(
      c.get("edge"),
      {
        tenant: principal.tenant,
        by: { token: principal.name },
        patterns: scopePatterns(principal, "publish"),
        invalidations,
        idempotency: await idempotencyOf(principal, key, body),
        defaults: { settle: 0, secondPass: 0 },
        ...(trace === undefined ? {} : { trace }),
      },
      (index) => (batch ? ["invalidations", index] : []),
    )
    const waited = await waitFor(c, principal.tenant, accepted)
    if (waited) {
      const answer = batch ? { invalidations: waited.records } : waited.records[0]
      return c.json(answer, 200, { "preference-applied": `wait=${waited.seconds}` })
    }
    const [only] = accepted
    const headers: HeadersInit = batch ? {} : { location: `/v1/invalidations/${only?.id}` }
    // Not by `c.json`, which sets headers one by one: that costs as much as all the rest of an answer.
    return Response.json(batch ? { invalidations: accepted } : only, { status: 202, headers })
  })

  app.get("/v1/invalidations", async (c) => {
    const principal = await principalOf(c)
    const { store, config } = c.get("edge")
    return c.json(await listRecords({ store, principal, targets: config.targets }, c.req.query()))
  })

  app.get("/v1/invalidations/:id", async (c) => {
    const principal = await principalOf(c)
    const { store, config, now } = c.get("edge")
    const record = await getRecord({ store, principal, targets: config.targets }, c.req.param("id"))
    const noRelay = record.state === "pending" && (await isUnattended(store, config.relay.poll, now()))
    return c.json(noRelay ? { ...record, noRelay } : record)
  })
}

function idempotencyKeyOf(c: EdgeContext): string | undefined {
  const key = c.req.header("idempotency-key")
  if (key === undefined || /^[\x20-\x7e]{1,255}$/.test(key)) return key
  throw new Problem("invalid_idempotency_key", "Idempotency-Key must be 1 to 255 printable ASCII characters.")
}

/** Without a key of the publisher's we make one, so that our own second attempt appends nothing twice. */
async function idempotencyOf(
  principal: Principal,
  key: string | undefined,
  body: unknown,
): Promise<Idempotency> {
  const own = key === undefined
  return {
    principal: `token.${principal.name}`,
    key: own ? `auto.${crypto.randomUUID()}` : `key.${key}`,
    fingerprint: own ? "-" : await fingerprint(body),
    ...(own ? { remember: 600 } : {}),
  }
}

const traceOf = (c: EdgeContext): string | undefined => {
  const trace = c.req.header("traceparent")
  return trace !== undefined && /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(trace)
    ? trace
    : undefined
}

const MAX_WAIT_SECONDS = 30

/** `Prefer: wait=n`; undefined when it is absent or out of range, which RFC 7240 lets a server ignore. */
function waitSeconds(header: string | undefined): number | undefined {
  const seconds = Number(/(?:^|[,;\s])wait\s*=\s*"?(\d{1,3})"?/i.exec(header ?? "")?.[1])
  return seconds >= 1 && seconds <= MAX_WAIT_SECONDS ? seconds : undefined
}

/**
 * Reads the records until every target is done: the one exception to one subrequest a publish.
 * Undefined when nobody asked for it, when the time is over, or when one has failed.
 */
async function waitFor(
  c: EdgeContext,
  tenant: string,
  accepted: readonly Accepted[],
): Promise<{ seconds: number; records: readonly InvalidationRecord[] } | undefined> {
  const seconds = waitSeconds(c.req.header("prefer"))
  if (seconds === undefined) return undefined
  const { store, config, now } = c.get("edge")
  const until = now() + seconds * SECOND
  // The publisher's own scope may not hold `read:`; these are its own.
  const principal: Principal = { name: "-", tenant, scopes: ["read:*"] }
  for (let pause = 20; ; pause = Math.min(pause * 2, 500)) {
    const read = accepted.map(({ id }) => getRecord({ store, principal, targets: config.targets }, id))
    const records = await Promise.all(read).catch(() => undefined)
    if (records?.every(({ state }) => state === "done")) return { seconds, records }
    if (records?.some(({ state }) => state === "failed") || now() + pause >= until) return undefined
    await new Promise((resolve) => setTimeout(resolve, pause))
  }
}
