import { saidByTag } from "../dispatch/explain.ts"
import { findDriver } from "../dispatch/targets/list.ts"
import { servesTenant } from "../protocol/config/config.ts"
import { type Epoch, epochToMs, type Head, parseHead, type Position } from "../protocol/epoch.ts"
import { cursorKey, deadKey, dueKey, headKey, lanesKey, logKey, seenKey } from "../protocol/keys.ts"
import { laneOf, lanesOf, nodeOf, targetOf } from "../protocol/nodes.ts"
import { type LaneStatus, parseJson } from "../protocol/receipt.ts"
import { readHash } from "../protocol/record.ts"
import { asList, asText, type Command } from "../protocol/store.ts"
import { isoTime, type Milliseconds } from "../protocol/time.ts"
import type { Relay } from "./relay.ts"

/** How far a lane is behind its log. */
export interface Lag {
  readonly entries: number
  /** Age of the oldest entry that it has not handled, now; 0 when it is level. */
  readonly ms: Milliseconds
}

interface Cursor extends Position {
  readonly owner: string
}

/** One lane, as it is told. */
interface LaneView {
  readonly state: LaneStatus["state"]
  readonly owner: string | null
  readonly cursor: Position
  readonly lag: Lag
  readonly due: number
  readonly since?: string
  readonly attempts?: number
  readonly nextAt?: string
  readonly error?: string
}

function readCursor(text: string | undefined): Cursor {
  const [owner = "-", generation, epoch, seq] = (text ?? "- 0 0 0").split(" ")
  return { owner, generation: Number(generation), epoch: Number(epoch), seq: Number(seq) }
}

const entriesBehind = (head: Head | undefined, { generation, seq }: Position): number =>
  head ? Math.max(0, head.generation === generation ? head.seq - seq : head.seq) : 0

/** How far each of a tenant's lanes of this relay's configuration is behind. @throws {StoreError} */
export async function readLags(relay: Relay, tenant: string): Promise<ReadonlyMap<string, Lag>> {
  const lanes = relay.lanes.of(tenant).map((lane) => lane.id)
  const [head, cursors] = await relay.store.pipeline([
    ["GET", headKey(tenant)],
    ["HGETALL", cursorKey(tenant)],
  ])
  const held = readHash(cursors)
  const found = new Map(lanes.map((lane) => [lane, readCursor(held.get(lane))]))
  return lagsOf(relay, tenant, parseHead(asText(head)), found)
}

/** What a lane has not handled is in the log after its cursor, and nowhere else: it is asked for now. */
async function lagsOf(
  relay: Relay,
  tenant: string,
  head: Head | undefined,
  cursors: ReadonlyMap<string, Position>,
): Promise<ReadonlyMap<string, Lag>> {
  const behind = [...cursors].filter(([, cursor]) => entriesBehind(head, cursor) > 0)
  const oldest =
    behind.length === 0
      ? []
      : await relay.store.pipeline(
          behind.map(([, { epoch }]) => ["XRANGE", logKey(tenant), `${epoch}-1`, "+", "COUNT", "1"]),
        )
  const ages = new Map(
    behind.map(([lane], index) => {
      const id = asText(asList(asList(oldest[index])[0])[0])
      // Trimmed meanwhile, or lost: of what is known, the head is the oldest.
      const epoch: Epoch = id === undefined ? (head?.epoch ?? 0) : Number(id.split("-", 1)[0])
      return [lane, Math.max(0, Math.round(relay.now() - epochToMs(epoch)))]
    }),
  )
  return new Map(
    [...cursors].map(([lane, cursor]) => [
      lane,
      { entries: entriesBehind(head, cursor), ms: ages.get(lane) ?? 0 },
    ]),
  )
}

/** What `GET /v1/lanes` answers of one tenant: each target, and its nodes where it has several. @throws {StoreError} */
export async function lanesView(relay: Relay, tenant: string): Promise<readonly object[]> {
  const targets = Object.entries(relay.config.targets)
    .filter(([, target]) => servesTenant(target, tenant))
    .map(([name]) => name)
  const lanes = targets.flatMap((name) => lanesOf(name, relay.lanes.nodesOf(name) ?? []))
  const [headText, cursorHash, troubleHash, seenHash, ...counts] = await relay.store.pipeline([
    ["GET", headKey(tenant)],
    ["HGETALL", cursorKey(tenant)],
    ["HGETALL", lanesKey(tenant)],
    ["HGETALL", seenKey(tenant)],
    ...targets.map((name): Command => ["XLEN", deadKey(tenant, name)]),
    ...lanes.map((lane): Command => ["ZCARD", dueKey(tenant, lane)]),
  ])
  const head = parseHead(asText(headText))
  const held = readHash(cursorHash)
  const told = readHash(troubleHash)
  const cursors = new Map(lanes.map((lane) => [lane, readCursor(held.get(lane))]))
  const lags = await lagsOf(relay, tenant, head, cursors)
  const views = new Map(
    lanes.map((lane, index): [string, LaneView] => {
      const own = relay.lanes.of(tenant).find(({ id }) => id === lane)?.status
      // A lane that rests here may be another relay's, and in trouble there.
      const status = own && own.state !== "idle" ? own : (parseJson<LaneStatus>(told.get(lane)) ?? own)
      const { owner, ...cursor } = cursors.get(lane) ?? readCursor(undefined)
      return [
        lane,
        {
          state: status?.state ?? "idle",
          owner: owner === "-" ? null : owner,
          cursor,
          lag: lags.get(lane) ?? { entries: 0, ms: 0 },
          due: Number(counts[targets.length + index] ?? 0),
          ...toldOf(status),
        },
      ]
    }),
  )
  const seen = readHash(seenHash)
  const shown = targets.map((target, index) => {
    const nodes = relay.lanes.nodesOf(target)
    const own = lanesOf(target, nodes ?? []).flatMap((lane) => views.get(lane) ?? [])
    const trouble = relay.lanes.troubleOf(target)
    return {
      tenant,
      target,
      ...worstOf(own),
      ...(trouble === undefined ? {} : { state: nodes?.length === 0 ? "retrying" : worstOf(own).state }),
      head: head ? { generation: head.generation, epoch: head.epoch, seq: head.seq } : null,
      dead: Number(counts[index] ?? 0),
      warnings: [
        ...warningsOf(relay, tenant, target, seen),
        ...(trouble === undefined || nodes?.length === 0 ? [] : [trouble]),
      ],
      ...(trouble !== undefined && nodes?.length === 0 ? { error: trouble } : {}),
      ...(nodes === undefined || nodes.length === 0
        ? {}
        : {
            nodes: nodes.map((node) => ({ node, ...views.get(laneOf(target, node)) })),
          }),
    }
  })
  const off = Object.entries(relay.off)
    .filter(([, target]) => servesTenant(target, tenant))
    .map(([name, { missing }]) => ({ tenant, target: name, state: "off", missing }))
  return [...shown, ...off]
}

const toldOf = (status: LaneStatus | undefined): Partial<LaneView> => {
  if (!status) return {}
  const { since, attempts, nextAt, error } = status
  return {
    since: isoTime(since),
    attempts,
    ...(nextAt === undefined ? {} : { nextAt: isoTime(nextAt) }),
    ...(error === undefined ? {} : { error }),
  }
}

const WORST: readonly LaneStatus["state"][] = ["paused", "retrying", "running", "idle", "off"]

/** Of several nodes, what is told of the target: how it stands where it stands worst. */
function worstOf(lanes: readonly LaneView[]): LaneView {
  const sorted = lanes.toSorted(
    (a, b) => WORST.indexOf(a.state) - WORST.indexOf(b.state) || b.lag.ms - a.lag.ms,
  )
  const worst = sorted[0] ?? {
    state: "idle",
    owner: null,
    cursor: { generation: 0, epoch: 0, seq: 0 },
    lag: { entries: 0, ms: 0 },
    due: 0,
  }
  return {
    ...worst,
    lag: {
      entries: Math.max(worst.lag.entries, ...lanes.map(({ lag }) => lag.entries)),
      ms: Math.max(worst.lag.ms, ...lanes.map(({ lag }) => lag.ms)),
    },
    due: lanes.reduce((sum, { due }) => sum + due, 0),
  }
}

/**
 * Caches that take labels off before visitors see them: no look from outside could ever find one there.
 *
 * @see https://developers.cloudflare.com/cache/how-to/purge-cache/purge-by-tags/
 * @see https://www.fastly.com/documentation/reference/http/http-headers/Surrogate-Key/
 * @see https://vercel.com/docs/headers/response-headers
 * @see ../infra/varnish/tidemark.vcl
 */
const LABELS_HIDDEN: ReadonlySet<string> = new Set(["cloudflare", "fastly", "vercel", "varnish"])

/**
 * A namespace that a target purges by its tag alone is not purged where its pages do not carry it. Told only where
 * somebody looks, and could see it: a warning that nothing clears teaches people to overlook warnings.
 */
function warningsOf(
  { config }: Relay,
  tenant: string,
  name: string,
  seen: ReadonlyMap<string, string>,
): string[] {
  const target = config.targets[name]
  const driver = target && findDriver(target.type)
  if (!target?.verify || !driver || LABELS_HIDDEN.has(target.type)) return []
  const capabilities = driver.capabilities(target as never)
  return saidByTag({ config, tenant, target, capabilities })
    .filter((namespace) => !seen.has(namespace))
    .map(
      (namespace) => `no response was seen that carries ns/${namespace}, by which all of it is purged here`,
    )
}

/** As metrics name a lane. */
export const labelsOf = (tenant: string, lane: string): Record<string, string> => {
  const node = nodeOf(lane)
  return { tenant, target: targetOf(lane), ...(node === undefined ? {} : { node }) }
}
