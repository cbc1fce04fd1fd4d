import type { Hono } from "hono"
import { concatBytes, parseJsonBytes, sha256, toHex, utf8 } from "../../protocol/bytes.ts"
import type { Resolved } from "../../protocol/config/config.ts"
import type { SourceConfig } from "../../protocol/config/schema.ts"
import { SOURCE_TRAITS } from "../../protocol/config/source-options.ts"
import { BEARER_SECRET, TEXT_SECRET } from "../../protocol/config/source-secret.ts"
import { Problem } from "../../protocol/errors.ts"
import { MAX_HOOK_BODY_BYTES } from "../../protocol/invalidation.ts"
import type { Idempotency } from "../../protocol/publish.ts"
import { type EdgeEnv, readBody } from "../context.ts"
import { takeIn } from "../intake.ts"
import { type Derived, deriveInvalidations, wholeNamespace } from "../rules.ts"
import { withoutSecret } from "../sources/checks.ts"
import type { Delivery, SourceAdapter, SourceContext, Verification } from "../sources/source.ts"

/**
 * Webhooks. The answer is exactly 200 once the delivery is stored, as some senders take nothing else for success,
 * and never one that makes a sender give up for good (3xx, 410, 422).
 */
export function hookRoutes(app: Hono<EdgeEnv>): void {
  app.post("/v1/hooks/:source", async (c) => {
    const edge = c.get("edge")
    const name = c.req.param("source")
    const config = Object.hasOwn(edge.resolved.sources, name) ? edge.resolved.sources[name] : undefined
    const adapter = config && edge.sources.get(config.type)
    // Before a byte of the body is read: nobody is served who is not configured.
    if (!config || !adapter) throw new Problem("unknown_source", "No source of that name is configured.")
    const context: SourceContext = { config, now: edge.now, fetch: (...args) => fetch(...args) }
    const url = new URL(c.req.url)
    const delivery: Delivery = {
      method: c.req.method,
      path: url.pathname + url.search,
      headers: c.req.raw.headers,
      body: await readBody(c, MAX_HOOK_BODY_BYTES),
    }
    const verdict = await adapter.verify(delivery, context)
    if (verdict.verdict === "ping") {
      return c.json({ accepted: 0, duplicate: false, epochs: [], notes: [verdict.note] })
    }
    if (verdict.verdict === "invalid") {
      const named = edge.config.sources[name]?.secret ?? []
      throw new Problem("invalid_signature", verdict.detail + malformedSecrets(named, config, adapter))
    }
    if (verdict.verdict === "stale") throw new Problem("stale_signature", verdict.detail)
    const { invalidations, notes } = derive(edge.config, name, adapter, delivery, context)
    if (invalidations.length === 0) return c.json({ accepted: 0, duplicate: false, epochs: [], notes })
    const taken = await takeIn(edge, {
      tenant: config.tenant,
      by: { source: name },
      invalidations,
      idempotency: await idempotencyOf(name, delivery, verdict),
      defaults: passDefaults(config),
    })
    const epochs = taken.accepted.map(({ epoch }) => epoch)
    return c.json({ accepted: epochs.length, duplicate: taken.duplicate, epochs, notes })
  })

  app.all("/v1/hooks/:source", (c) => {
    const { resolved, sources } = c.get("edge")
    const name = c.req.param("source")
    const config = Object.hasOwn(resolved.sources, name) ? resolved.sources[name] : undefined
    const adapter = config && sources.get(config.type)
    const { method } = c.req
    if (!adapter?.challenge || (method !== "GET" && method !== "HEAD")) {
      throw new Problem("method_not_allowed", `${method} is not allowed here.`, {
        headers: { allow: adapter?.challenge ? "GET, POST" : "POST" },
      })
    }
    const answer = adapter.challenge(new URL(c.req.url).searchParams)
    if (answer === undefined) {
      throw new Problem("invalid_parameter", "The query holds no challenge of this sender.")
    }
    return c.text(answer)
  })
}

type Verified = Extract<Verification, { verdict: "verified" }>

/** Names those secrets that can verify nothing: it is not the sender then who has something to mend. */
function malformedSecrets(
  named: SourceConfig["secret"],
  { auth, secret }: Resolved<SourceConfig>,
  { secretForm = auth === "bearer" ? BEARER_SECRET : TEXT_SECRET }: SourceAdapter,
): string {
  const values = [secret].flat()
  const malformed = [named].flat().filter((_, index) => !secretForm.test(values[index] ?? ""))
  return malformed.map((each) => ` ${each.secret} is malformed.`).join("")
}

/** What a delivery invalidates, whoever sent it. */
export function derive(
  config: Parameters<typeof deriveInvalidations>[0]["config"],
  name: string,
  adapter: SourceAdapter,
  { headers, path, body: bytes }: Pick<Delivery, "headers" | "path" | "body">,
  context: SourceContext,
): Derived {
  const { config: source } = context
  const parsed = parseJsonBytes(bytes)
  // Also where `auth` looks elsewhere: a sender that signs nothing may put its secret there regardless.
  const isSigned = SOURCE_TRAITS[source.type].signed && source.auth === undefined
  const body = isSigned ? parsed : withoutSecret(parsed)
  const reading = adapter.read({ body, headers, path }, context)
  switch (reading.reading) {
    case "ignored":
      return { invalidations: [], notes: [reading.note], rules: [] }
    case "unreadable":
      return wholeNamespace(source, reading.note, reading.kind)
    case "events":
      return deriveInvalidations({ events: reading.events, body, sourceName: name, source, config })
  }
}

/**
 * A delivery is known again by its id and its bytes, or by its bytes alone where what is signed carries a time or a
 * revision; else not at all. A repeated purge is cheap, a dropped one is a stale page.
 */
async function idempotencyOf(
  name: string,
  delivery: Delivery,
  { replay, deliveryId }: Verified,
): Promise<Idempotency> {
  const principal = `source.${name}`
  if (replay === "none")
    return { principal, key: `auto.${crypto.randomUUID()}`, fingerprint: "-", remember: 600 }
  const id = `${replay}.${deliveryId ?? ""}`
  const hash = toHex(await sha256(concatBytes(utf8(`${id}\n`), delivery.body)))
  return { principal, key: `hook.${hash}`, fingerprint: "-" }
}

/** When passes follow a delivery for which neither a rule nor the namespace says so. */
export const passDefaults = ({ type, settle, secondPass }: Resolved<SourceConfig>) => ({
  settle: settle ?? SOURCE_TRAITS[type].settle,
  secondPass: secondPass ?? SOURCE_TRAITS[type].secondPass,
})
