import { concernedTargets } from "../protocol/concern.ts"
import type { Config } from "../protocol/config/schema.ts"
import { type Epoch, epochToMs, parseEpoch } from "../protocol/epoch.ts"
import type { PassKind } from "../protocol/invalidation.ts"
import { cursorKey, lanesKey, laterAfterKey, laterItemsKey, laterKey, nodesKey } from "../protocol/keys.ts"
import { decodeBody } from "../protocol/log.ts"
import { lanesOf, readNodes } from "../protocol/nodes.ts"
import {
  parsePass,
  type PassPlan,
  publish,
  RELAY_PRINCIPAL,
  settingsFor,
  type StoredPass,
} from "../protocol/publish.ts"
import { findEntry, readHash } from "../protocol/record.ts"
import { asList, asText, type Store } from "../protocol/store.ts"
import { DAY, MINUTE, type Milliseconds, SECOND } from "../protocol/time.ts"
import type { Clock } from "./clock.ts"

/** How long a second pass waits at most for the first to be handled by every target. */
const MAX_WAIT: Milliseconds = 10 * MINUTE
const PAGE = 100

export interface PassesContext {
  readonly store: Store
  readonly tenant: string
  readonly config: Config
  readonly clock: Clock
  readonly relay: string
}

interface Due {
  readonly id: string
  readonly of: Epoch
  readonly kind: PassKind
  readonly pass: StoredPass
}

/**
 * Appends the passes that are due, and starts the clock of second passes whose first was handled. Any relay may do so
 * at any time: a pass is published under its own idempotency key, and removed in the same script.
 *
 * @returns ms since 1970 at which to run them again: when the next one is due, and a poll later where one waits for its
 *   first to be handled; undefined when there is none
 * @throws {StoreError}
 */
export async function runPasses(context: PassesContext): Promise<Milliseconds | undefined> {
  const waiting = await armSecondPasses(context)
  const { store, tenant, clock, config } = context
  for (;;) {
    const now = String(clock.now() * 1000)
    const [ids] = await store.pipeline([
      ["ZRANGEBYSCORE", laterKey(tenant), "-inf", now, "LIMIT", "0", String(PAGE)],
    ])
    const met = asList(ids).map((id) => asText(id) ?? "")
    for (const one of await readPasses(context, met)) await append(context, await whole(context, one))
    if (met.length < PAGE) break
  }
  const [next] = await store.pipeline([["ZRANGE", laterKey(tenant), "0", "0", "WITHSCORES"]])
  const score = asText(asList(next)[1])
  const at = [
    ...(score === undefined ? [] : [Number(score) / 1000]),
    ...(waiting > 0 ? [clock.now() + config.relay.poll] : []),
  ]
  return at.length === 0 ? undefined : Math.min(...at)
}

async function readPasses({ store, tenant }: PassesContext, ids: readonly string[]): Promise<Due[]> {
  if (ids.length === 0) return []
  const [items] = await store.pipeline([["HMGET", laterItemsKey(tenant), ...ids]])
  const due = ids.map((id, index) => toDue(id, asText(asList(items)[index])))
  // What can never be carried out would be met for ever.
  const broken = ids.filter((_, index) => due[index] === undefined)
  if (broken.length > 0) {
    await store.pipeline([laterKey(tenant), laterAfterKey(tenant)].map((key) => ["ZREM", key, ...broken]))
  }
  return due.filter((one) => one !== undefined)
}

/**
 * A pass as it was stored. Where its body is gone, the invalidation that targets skipped for its sake, or that was to
 * be hard by now, is carried out as the wider thing; a second pass, which only repeats one, is dropped.
 */
function toDue(id: string, text: string | undefined): Due | undefined {
  const [epoch, kind] = id.split(":")
  const of = parseEpoch(epoch)
  const pass = text === undefined ? undefined : parsePass(text)
  if (of === undefined) return undefined
  if (kind === "second") return pass && { id, of, kind, pass }
  return kind === "settle" || kind === "stale" ? { id, of, kind, pass: pass ?? UNREADABLE } : undefined
}

/** As a log entry that cannot be read is taken: for everything. */
const UNREADABLE: StoredPass = { delay: 0, body: decodeBody("") }

/** A due pass with the selectors of the entry that it follows: one at a time, as each may have 256 KiB of them. */
async function whole({ store, tenant }: PassesContext, due: Due): Promise<Due> {
  const { of, pass } = due
  if (!pass.isStandIn) return due
  const entry = await findEntry(store, tenant, of)
  // Trimmed, or not to be read: then the namespace as a whole is what it can be told by.
  if (entry?.body.kind !== "invalidation") return due
  const { settling: _, ...body } = entry.body
  return { ...due, pass: { ...pass, body: { ...body, mode: pass.body.mode } } }
}

async function append(
  { store, tenant, config, relay }: PassesContext,
  { id, of, kind, pass }: Due,
): Promise<void> {
  const { secondPass } = pass
  const body = { ...pass.body, by: { relay }, pass: { kind, of } }
  // A namespace that is no longer declared is still stale: its tags are then kept for the longest default.
  const settings = settingsFor(config, tenant, body) ?? { maxCacheTtl: 30 * DAY, maxTags: 1_000_000 }
  const follow: PassPlan[] =
    secondPass === undefined ? [] : [{ kind: "second", delay: secondPass, body: pass.body }]
  await publish(store, {
    tenant,
    entries: [{ body, settings, passes: follow }],
    maxEntries: config.log.maxEntries,
    pass: { id, origin: of },
    idempotency: {
      principal: RELAY_PRINCIPAL,
      key: id,
      fingerprint: "-",
      // Records are read for as long as the log is kept, and name their passes by these answers.
      remember: Math.max(1, Math.ceil(config.log.keep / SECOND)),
    },
  })
}

/**
 * A second pass counts from when the entry before it was handled by every target: counted from the acceptance, both
 * would come at once after an outage, and the second would protect nothing.
 *
 * @returns how many were met that wait on
 */
async function armSecondPasses(context: PassesContext): Promise<number> {
  let skip = 0
  let page = { met: PAGE, armed: PAGE }
  // What waits longest comes first: where a whole page of it waits on, so does what comes after.
  while (page.met === PAGE && page.armed > 0) {
    page = await armPage(context, skip)
    skip += page.met - page.armed
  }
  return skip
}

async function armPage(context: PassesContext, skip: number): Promise<{ met: number; armed: number }> {
  const { store, tenant, config, clock } = context
  const [waiting] = await store.pipeline([
    ["ZRANGE", laterAfterKey(tenant), String(skip), String(skip + PAGE - 1), "WITHSCORES"],
  ])
  // After each publish this is asked, and few have a second pass.
  if (asList(waiting).length === 0) return { met: 0, armed: 0 }
  const [cursors, nodes, troubles] = await store.pipeline([
    ["HGETALL", cursorKey(tenant)],
    ["HGETALL", nodesKey(tenant)],
    ["HGETALL", lanesKey(tenant)],
  ])
  const flat = asList(waiting)
  const ids = flat.filter((_, index) => index % 2 === 0).map((id) => asText(id) ?? "")
  const epochs = new Map(ids.map((id, index) => [id, Number(asText(flat[2 * index + 1]))]))
  const read = readHash(cursors)
  const known = readHash(nodes)
  const told = readHash(troubles)
  const handledBy = (lane: string): Epoch => Number((read.get(lane) ?? "").split(" ")[2] ?? 0)
  /** A node in trouble is not waited for by the others: it gets first and second pass when it is back. */
  const handled = (name: string): Epoch => {
    const lanes = lanesOf(name, readNodes(known.get(name)))
    const sound = lanes.length === 1 ? lanes : lanes.filter((lane) => !told.has(lane))
    return Math.min(...(sound.length === 0 ? lanes : sound).map(handledBy))
  }
  const now = clock.now()
  const passes = await readPasses(context, ids)
  const ready = passes.filter(({ id, pass }) => {
    const epoch = epochs.get(id) ?? 0
    const targets = concernedTargets(pass.body, tenant, config.targets)
    return targets.every((name) => handled(name) >= epoch) || now - epochToMs(epoch) >= MAX_WAIT
  })
  if (ready.length > 0) {
    const dues = ready.flatMap(({ id, pass }) => [String(Math.floor((now + pass.delay) * 1000)), id])
    // In this order, and only if they are not there: stopped in between, or met by two relays, each is armed once.
    await store.pipeline([
      ["ZADD", laterKey(tenant), "NX", ...dues],
      ["ZREM", laterAfterKey(tenant), ...ready.map(({ id }) => id)],
    ])
  }
  return { met: ids.length, armed: ids.length - passes.length + ready.length }
}
