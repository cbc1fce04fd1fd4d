import type { Hono } from "hono"
import { concatBytes, sha256, toHex, utf8 } from "../../protocol/bytes.ts"
import type { Resolved } from "../../protocol/config/config.ts"
import type { Config, SourceConfig } from "../../protocol/config/schema.ts"
import { SOURCE_TRAITS } from "../../protocol/config/source-options.ts"
import { Problem } from "../../protocol/errors.ts"
import { MAX_HOOK_BODY_BYTES } from "../../protocol/invalidation.ts"
import type { Idempotency } from "../../protocol/publish.ts"
import { type EdgeContext, type EdgeEnv, readBody } from "../context.ts"
import { takeIn } from "../intake.ts"
import { type Derived, deriveInvalidations, wholeNamespace } from "../rules.ts"
import { inflate, parseBody } from "../sources/body.ts"
import { withoutSecret } from "../sources/checks.ts"
import type {
  Delivery,
  Reading,
  SourceAdapter,
  SourceContext,
  Verification,
  Verified,
} from "../sources/source.ts"

/**
 * Ours. A delivery that is longer than what is parsed is read up to here, so that its signature can be verified and the
 * namespace stand for what it says: to most senders a 413 is the end of it.
 */
const MAX_SIGNED_BODY_BYTES = 16 * 1024 * 1024

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
    const { verdict, delivery } = await verify(adapter, await receive(c, config), context)
    if (verdict.verdict === "ping") {
      return c.json({ accepted: 0, duplicate: false, epochs: [], notes: [verdict.note] })
    }
    if (verdict.verdict === "invalid") throw new Problem("invalid_signature", verdict.detail)
    if (verdict.verdict === "stale") throw new Problem("stale_signature", verdict.detail)
    if (delivery.isCut) await drain(c)
    const body = (await inflate(delivery, MAX_HOOK_BODY_BYTES)) ?? delivery.body
    const derived = derive(edge.config, name, adapter, { ...delivery, body }, context)
    const { invalidations, notes } = derived
    if (invalidations.length === 0) return c.json({ accepted: 0, duplicate: false, epochs: [], notes })
    const taken = await takeIn(edge, {
      tenant: config.tenant,
      by: { source: name },
      invalidations,
      idempotency: await idempotencyOf(edge.config, name, delivery, verdict, derived),
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

/** A delivery as it came. */
interface Received extends Delivery {
  /** Its body was too long to be read, and stands there empty. */
  readonly isCut?: true
}

/** Whether the secret is carried outside of the body, so that nothing of the body is needed to know the sender. */
const isCarried = ({ auth }: Resolved<SourceConfig>): boolean => auth !== undefined && auth !== "body"

/**
 * Reads a delivery. One that is longer than can be parsed is read further where only its signature tells who sent it.
 *
 * @throws {Problem} `body_too_large`
 */
async function receive(c: EdgeContext, config: Resolved<SourceConfig>): Promise<Received> {
  const url = new URL(c.req.url)
  const told = { method: c.req.method, path: url.pathname + url.search, headers: c.req.raw.headers }
  try {
    return {
      ...told,
      body: await readBody(c, isCarried(config) ? MAX_HOOK_BODY_BYTES : MAX_SIGNED_BODY_BYTES),
    }
  } catch (error) {
    if (!isCarried(config) || !(error instanceof Problem)) throw error
    return { ...told, body: new Uint8Array(), isCut: true }
  }
}

/** Takes the rest of a body whose sender is known: its sender would not see an answer that comes before its end. */
async function drain(c: EdgeContext): Promise<void> {
  for await (const _ of c.req.raw.body ?? []);
}

/**
 * The verdict, and the delivery that it is about: some senders sign what they compress afterwards, and others what goes
 * over the wire. Either way the signature covers what is read.
 */
async function verify(
  adapter: SourceAdapter,
  delivery: Received,
  context: SourceContext,
): Promise<{ readonly verdict: Verification; readonly delivery: Received }> {
  const verdict = await adapter.verify(delivery, context)
  if (verdict.verdict !== "invalid") return { verdict, delivery }
  const body = await inflate(delivery, MAX_HOOK_BODY_BYTES)
  if (!body) return { verdict, delivery }
  const inflated = { ...delivery, body }
  return { verdict: await adapter.verify(inflated, context), delivery: inflated }
}

/** What a delivery comes to, and what its source read in it. */
interface DerivedDelivery extends Derived {
  readonly reading: Reading
}

/** What a delivery invalidates, whoever sent it. Its body is no longer compressed. */
export function derive(
  config: Config,
  name: string,
  adapter: SourceAdapter,
  delivery: Pick<Received, "headers" | "path" | "body" | "isCut">,
  context: SourceContext,
): DerivedDelivery {
  const { config: source } = context
  const { headers, path } = delivery
  const isTooLong = delivery.isCut ?? delivery.body.length > MAX_HOOK_BODY_BYTES
  const parsed = isTooLong ? undefined : parseBody(delivery)
  // Also where `auth` looks elsewhere: a sender that signs nothing may put its secret there regardless.
  const isSigned = SOURCE_TRAITS[source.type].signed && source.auth === undefined
  const body = isSigned ? parsed : withoutSecret(parsed)
  const reading = adapter.read({ body, headers, path }, context)
  switch (reading.reading) {
    case "ignored":
      return { invalidations: [], notes: [reading.note], rules: [], reading }
    case "unreadable": {
      const why = isTooLong ? `the body has more than ${MAX_HOOK_BODY_BYTES} bytes` : reading.note
      return { ...wholeNamespace(source, why, reading.kind), reading }
    }
    case "events": {
      const { events } = reading
      return { ...deriveInvalidations({ events, body, sourceName: name, source, config }), reading }
    }
  }
}

/**
 * A delivery is known again by its id and its bytes, or by its bytes alone where what is signed carries a time or a
 * revision; else not at all. A repeated purge is cheap, a dropped one is a stale page. So it is another one where what
 * stands in its headers alone says another thing, such as the topic, and once the configuration was mended by which it
 * is judged: whoever has it sent again by hand then means that.
 */
async function idempotencyOf(
  config: Config,
  name: string,
  delivery: Received,
  { replay, deliveryId }: Verified,
  { reading, invalidations }: DerivedDelivery,
): Promise<Idempotency> {
  const principal = `source.${name}`
  if (replay === "none" || delivery.isCut)
    return { principal, key: `auto.${crypto.randomUUID()}`, fingerprint: "-", remember: 600 }
  const id = `${replay}.${deliveryId ?? ""}`
  // Secrets stand here by name, so that rotating one changes nothing.
  const judged = [config.sources[name], config.namespaces, config.tenants, reading, invalidations]
  const hash = toHex(await sha256(concatBytes(utf8(`${id}\n${JSON.stringify(judged)}\n`), delivery.body)))
  return { principal, key: `hook.${hash}`, fingerprint: "-" }
}

/** When passes follow a delivery for which neither a rule nor the namespace says so. */
export const passDefaults = ({ type, settle, secondPass }: Resolved<SourceConfig>) => ({
  settle: settle ?? SOURCE_TRAITS[type].settle,
  secondPass: secondPass ?? SOURCE_TRAITS[type].secondPass,
})
