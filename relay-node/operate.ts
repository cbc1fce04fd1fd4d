import * as z from "zod/mini"
import type { Context, Hono } from "hono"
import { bodyLimit } from "hono/body-limit"
import {
  deleteLetter,
  isLetterId,
  listLetters,
  replayLetter,
  type StoredLetter,
} from "../dispatch/letters.ts"
import { servesTenant } from "../protocol/config/config.ts"
import { Problem } from "../protocol/errors.ts"
import { faults, SELECTOR_LISTS } from "../protocol/invalidation.ts"
import { parseLimit } from "../protocol/records-api.ts"
import { resync } from "../protocol/resync.ts"
import { namespaceName } from "../protocol/schema.ts"
import { isoTime } from "../protocol/time.ts"
import { type Principal, requirePlain } from "../protocol/tokens.ts"
import type { RelayEmitter } from "./events.ts"
import type { Relay } from "./relay.ts"

export interface OperateOptions {
  readonly relay: Relay
  readonly events: RelayEmitter
  readonly principalOf: (authorization: string | undefined) => Promise<Principal>
  /** Ends the process as SIGTERM does. */
  readonly drain: () => void
}

const resyncBody = z.strictObject({ namespace: z.optional(namespaceName) })

const MAX_BODY = 4_096

/** What is done by hand, by tokens with the scope `operate`; to end a relay, which is all tenants', by `drain`. */
export function operateRoutes(app: Hono, { relay, events, principalOf, drain }: OperateOptions): void {
  const operator = async (c: Context): Promise<Principal> => {
    const principal = await principalOf(c.req.header("authorization"))
    requirePlain(principal, "operate")
    return principal
  }
  /** Another tenant's target, and one that there is not, are told alike. */
  const laneOf = ({ tenant }: Principal, name: string | undefined) => {
    const target = name !== undefined && Object.hasOwn(relay.config.targets, name) ? name : undefined
    const found = target === undefined ? undefined : relay.config.targets[target]
    if (target === undefined || !found || !servesTenant(found, tenant)) throw noTarget()
    return { tenant, target }
  }

  app.get("/v1/dead-letters/:target", async (c) => {
    const lane = laneOf(await operator(c), c.req.param("target"))
    const limit = parseLimit(c.req.query("limit"))
    const after = c.req.query("after")
    if (after !== undefined && !isLetterId(after))
      throw new Problem("invalid_parameter", "after must be the id of a dead letter, as next gives it.")
    const letters = await listLetters(relay.store, lane, { after, limit })
    return c.json({
      items: letters.map((one) => shown(lane.tenant, one)),
      next: letters.length === limit ? (letters.at(-1)?.id ?? null) : null,
    })
  })

  app.post("/v1/dead-letters/:target/:id/replay", async (c) => {
    const lane = laneOf(await operator(c), c.req.param("target"))
    const id = c.req.param("id")
    if (!isLetterId(id) || !(await replayLetter(relay.store, lane, id, Date.now()))) throw noLetter()
    events.emit("letter:replayed", { ...lane, letter: id })
    relay.wake(lane.tenant)
    return c.json({ id, target: lane.target, state: "pending" }, 202)
  })

  app.delete("/v1/dead-letters/:target/:id", async (c) => {
    const lane = laneOf(await operator(c), c.req.param("target"))
    const id = c.req.param("id")
    if (!isLetterId(id) || !(await deleteLetter(relay.store, lane, id))) throw noLetter()
    events.emit("letter:deleted", { ...lane, letter: id })
    return c.body(null, 204)
  })

  app.post("/v1/resync", bodyLimit({ maxSize: MAX_BODY, onError: tooLarge }), async (c) => {
    const principal = await operator(c)
    const { namespace = null } = await readResync(c)
    const by = { token: principal.name }
    const answer = await resync(relay.store, relay.config, principal.tenant, { namespace, by })
    events.emit("resync:asked", {
      tenant: principal.tenant,
      namespace,
      by: principal.name,
      epoch: answer.epoch,
    })
    relay.wake(principal.tenant)
    return c.json(answer, 202)
  })

  app.post("/v1/drain", async (c) => {
    const principal = await principalOf(c.req.header("authorization"))
    requirePlain(principal, "drain")
    events.emit("drain:asked", { by: principal.name })
    drain()
    return c.json({ id: relay.id, draining: true }, 202)
  })
}

const noTarget = () => new Problem("not_found", "There is no such target.")
const noLetter = () => new Problem("not_found", "There is no such dead letter.")

/** A body may be left out: that is all of the tenant. */
async function readResync(c: Context): Promise<z.output<typeof resyncBody>> {
  const text = await c.req.text()
  let body: unknown = {}
  try {
    if (text.trim() !== "") body = JSON.parse(text)
  } catch {
    throw new Problem("invalid_json", "The body must be JSON in UTF-8.")
  }
  const read = resyncBody.safeParse(body)
  if (read.success) return read.data
  throw new Problem("invalid_request", "The request has members that are not as they must be.", {
    errors: faults(read.error.issues),
  })
}

function tooLarge(): never {
  throw new Problem("body_too_large", `The body may have at most ${MAX_BODY} bytes.`)
}

function shown(tenant: string, { id, letter }: StoredLetter) {
  if (!letter) {
    const error = "this dead letter is of a form that this version does not know"
    return {
      id,
      epoch: null,
      epochs: [],
      tenant,
      namespace: null,
      selectors: {},
      mode: null,
      error,
      at: null,
    }
  }
  const { namespace, mode, epochs, error, at, node, raw } = letter
  const lists = SELECTOR_LISTS.filter((list) => letter[list].length > 0).map((list) => [list, letter[list]])
  return {
    id,
    epoch: epochs.at(-1) ?? null,
    epochs,
    tenant,
    namespace,
    selectors: namespace === null ? { everything: true } : Object.fromEntries(lists),
    mode,
    error,
    at: isoTime(at),
    ...(node === undefined ? {} : { node }),
    ...(raw === undefined ? {} : { raw }),
  }
}
