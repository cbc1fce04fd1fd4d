import { concernedTargets, concerns, type TargetScope } from "./concern.ts"
import { type Epoch, epochToMs } from "./epoch.ts"
import { type EntryBody, SELECTOR_LISTS } from "./invalidation.ts"
import {
  cursorKey,
  idempotencyKey,
  lanesKey,
  lateKey,
  laterAfterKey,
  laterKey,
  logKey,
  nodesKey,
  sentKey,
  verifiedKey,
} from "./keys.ts"
import { type LogEntry, parseLogEntries } from "./log.ts"
import { laneOf, lanesOf, readNodes } from "./nodes.ts"
import { passId, RELAY_PRINCIPAL } from "./publish.ts"
import {
  type CallReceipt,
  type LaneStatus,
  type LateReceipt,
  MAX_LISTED_CALLS,
  parseJson,
  type RangeReceipt,
  sentAs,
} from "./receipt.ts"
import { asList, asText, type Command, type Reply, type Store } from "./store.ts"
import { isoTime, type Milliseconds } from "./time.ts"

/** An invalidation as `GET /v1/invalidations/{id}` shows it: what was asked, and what became of it at each target. */

export type TargetState =
  | "pending"
  | "settling"
  | "retrying"
  | "paused"
  | "done"
  | "dead"
  | "not_supported"
  | "unknown"

export interface TargetRecord {
  readonly state: TargetState
  /** When it was done, or given up. */
  readonly at: string | null
  /** From acceptance to that moment. */
  readonly ms: Milliseconds | null
  readonly attempts: number
  /** What was sent instead, where that was wider or harder than asked. */
  readonly as: string | null
  readonly calls: readonly CallReceipt[]
  readonly error: string | null
  /** What was seen of it at the cache afterwards, where the target is told to look. */
  readonly verified?: "fresh" | "stale"
  /** Of each node, where the target stands for several; the rest is then of the one that is furthest from done. */
  readonly nodes?: Readonly<Record<string, NodeRecord>>
}

export type NodeRecord = Omit<TargetRecord, "nodes" | "verified">

export interface PassRecord {
  readonly kind: string
  /** null while it is still to come. */
  readonly epoch: Epoch | null
  /** When it was appended, or is due; null while that is not known. */
  readonly at: string | null
}

export interface InvalidationRecord {
  readonly id: string
  readonly epoch: Epoch
  readonly seq: number
  readonly tenant: string
  readonly state: "pending" | "done" | "failed"
  readonly targets: Readonly<Record<string, TargetRecord>>
  readonly [member: string]: unknown
}

type Targets = Readonly<Record<string, TargetScope>>

interface Range {
  readonly from: Epoch
  readonly to: Epoch
  readonly receipt: RangeReceipt
}

interface TargetHistory {
  /** By `to`, rising. */
  readonly ranges: readonly Range[]
  readonly late: ReadonlyMap<Epoch, LateReceipt>
  readonly cursor: Epoch
  readonly lane: LaneStatus | undefined
  readonly verified: ReadonlyMap<Epoch, "fresh" | "stale">
}

/** Entries of the log, in its order or, with `before`, newest first. Bounds are exclusive. */
export async function readEntries(
  store: Store,
  tenant: string,
  page: { readonly after?: Epoch; readonly before?: Epoch; readonly limit: number },
): Promise<LogEntry[]> {
  const count = ["COUNT", String(page.limit)]
  const command: Command =
    page.before === undefined
      ? ["XRANGE", logKey(tenant), `${page.after ?? 0}-1`, "+", ...count]
      : ["XREVRANGE", logKey(tenant), `${Math.max(page.before - 1, 0)}-18446744073709551615`, "-", ...count]
  const [reply] = await store.pipeline([command])
  return parseLogEntries(reply)
}

/** One entry by its epoch; undefined when it is unknown or trimmed. One round trip. */
export async function findEntry(store: Store, tenant: string, epoch: Epoch): Promise<LogEntry | undefined> {
  const [reply] = await store.pipeline([["XRANGE", logKey(tenant), `${epoch}-0`, `${epoch}-0`]])
  return parseLogEntries(reply)[0]
}

/**
 * What became of some entries of one tenant, in the order given. One round trip; one more where a target has several
 * nodes, and where a settle pass is done.
 */
export async function readRecords(
  store: Store,
  tenant: string,
  entries: readonly LogEntry[],
  targets: Targets,
): Promise<InvalidationRecord[]> {
  if (entries.length === 0) return []
  const concerned = new Map(
    entries.map((entry) => [entry.epoch, concernedTargets(entry.body, tenant, targets)]),
  )
  const names = [...new Set([...concerned.values()].flat())]
  const passes = entries.flatMap(passesOf)
  const epochs = entries.map((entry) => entry.epoch)
  const historyCommands = historyOf(tenant, names, epochs)
  const [nodesReply, ...replies] = await store.pipeline([
    ["HGETALL", nodesKey(tenant)],
    ...historyCommands,
    ...passes.flatMap((pass) => passCommands(tenant, pass)),
  ])
  const known = readHash(nodesReply)
  const nodesOf = new Map(names.map((name) => [name, readNodes(known.get(name))]))
  const nodeLanes = [...nodesOf].flatMap(([name, nodes]) => nodes.map((node) => laneOf(name, node)))
  const readLanes = async (lanes: readonly string[], of: readonly Epoch[]) =>
    lanes.length === 0 ? [] : readHistory(lanes, await store.pipeline(historyOf(tenant, lanes, of)))
  const history = new Map([...readHistory(names, replies), ...(await readLanes(nodeLanes, epochs))])
  const passRecords = readPasses(passes, replies.slice(historyCommands.length))
  const settled = passRecords.flatMap((pass) =>
    pass.kind === "settle" && pass.epoch !== null ? [pass.epoch] : [],
  )
  const later = settled.length === 0 ? history : new Map(await readLanes([...names, ...nodeLanes], settled))
  return entries.map((entry) => {
    const own = passRecords.filter((pass) => pass.of === entry.epoch)
    const settle = own.find((pass) => pass.kind === "settle")
    const states = (concerned.get(entry.epoch) ?? []).map((name): [string, TargetRecord] => {
      if (entry.body.settling && settle?.epoch === null) return [name, { ...PENDING, state: "settling" }]
      // A settling entry takes over what becomes of the one that purges for it.
      const judged = entry.body.settling && settle?.epoch ? settle.epoch : entry.epoch
      const from = judged === entry.epoch ? history : later
      const verified = from.get(name)?.verified.get(judged)
      const nodes = nodesOf.get(name) ?? []
      const found = lanesOf(name, nodes).map((lane) => targetRecord(entry, judged, from.get(lane)))
      return [name, { ...together(nodes, found), ...(verified ? { verified } : {}) }]
    })
    return toRecord(tenant, entry, own, Object.fromEntries(states))
  })
}

const PENDING: TargetRecord = {
  state: "pending",
  at: null,
  ms: null,
  attempts: 0,
  as: null,
  calls: [],
  error: null,
}

function historyOf(tenant: string, names: readonly string[], epochs: readonly Epoch[]): Command[] {
  const first = String(Math.min(...epochs))
  const last = String(Math.max(...epochs))
  return [
    ["HGETALL", cursorKey(tenant)],
    ["HGETALL", lanesKey(tenant)],
    ...names.flatMap((name): Command[] => [
      ["XRANGE", sentKey(tenant, name), `${first}-0`, `${last}-0`],
      // The range that holds the last of them usually ends later.
      ["XRANGE", sentKey(tenant, name), `${last}-1`, "+", "COUNT", "1"],
      ["ZRANGEBYSCORE", lateKey(tenant, name), first, last],
      ["ZRANGEBYSCORE", verifiedKey(tenant, name), first, last],
    ]),
  ]
}

function readHistory(names: readonly string[], replies: readonly Reply[]): Map<string, TargetHistory> {
  const cursors = readHash(replies[0])
  const lanes = readHash(replies[1])
  return new Map(
    names.map((name, index) => {
      const [within, next, late, verified] = replies.slice(2 + 4 * index)
      return [
        name,
        {
          ranges: [...asList(within), ...asList(next)].flatMap((item) => readRange(item) ?? []),
          late: new Map(
            asList(late).flatMap((item): [Epoch, LateReceipt][] => {
              const receipt = parseJson<LateReceipt>(asText(item))
              return receipt ? [[receipt.epoch, receipt]] : []
            }),
          ),
          cursor: Number((cursors.get(name) ?? "").split(" ")[2] ?? 0),
          lane: parseJson<LaneStatus>(lanes.get(name)),
          verified: new Map(asList(verified).flatMap((item) => readVerified(asText(item)))),
        },
      ]
    }),
  )
}

function readVerified(text: string | undefined): [Epoch, "fresh" | "stale"][] {
  const [, epoch, verdict] = /^(\d{1,16}) (fresh|stale)$/.exec(text ?? "") ?? []
  return epoch === undefined ? [] : [[Number(epoch), verdict === "fresh" ? "fresh" : "stale"]]
}

/** Reads a flat reply of HGETALL. */
export function readHash(reply: Reply | undefined): Map<string, string> {
  const flat = asList(reply)
  const found = new Map<string, string>()
  for (let index = 0; index + 1 < flat.length; index += 2) {
    const [name, value] = [asText(flat[index]), asText(flat[index + 1])]
    if (name !== undefined && value !== undefined) found.set(name, value)
  }
  return found
}

function readRange(reply: Reply): Range | undefined {
  const [id, fields] = asList(reply)
  const values = readHash(fields)
  const receipt = parseJson<RangeReceipt>(values.get("r"))
  return receipt && { from: Number(values.get("from")), to: Number(asText(id)?.split("-")[0]), receipt }
}

function targetRecord(entry: LogEntry, epoch: Epoch, history: TargetHistory | undefined): TargetRecord {
  const range = history?.ranges.find(({ from, to }) => from < epoch && epoch <= to)
  if (!range) {
    if (!history || epoch <= history.cursor) return { ...PENDING, state: "unknown" }
    return waiting(history.lane)
  }
  const { receipt } = range
  const since = (at: Milliseconds) => ({
    at: isoTime(at),
    ms: Math.max(0, Math.round(at - epochToMs(entry.epoch))),
  })
  if (receipt.ex.includes(epoch)) {
    const late = history?.late.get(epoch)
    if (!late) return { ...PENDING, state: "unknown" }
    const { state, attempts, calls, as, error } = late
    const over = state === "done" || state === "dead" || state === "not_supported"
    return {
      ...PENDING,
      state,
      ...(over ? since(late.at) : {}),
      attempts,
      calls,
      as: as ?? null,
      error: error ?? null,
    }
  }
  if (receipt.resync === undefined && !concerns(entry.body, receipt.namespaces))
    return { ...PENDING, state: "unknown" }
  return {
    state: "done",
    ...since(receipt.at),
    attempts: receipt.attempts,
    as: sentAs(receipt, epoch),
    calls: receipt.calls,
    error: null,
  }
}

/** What is furthest from done comes first: what it waits for, all wait for. */
const WORST: readonly TargetState[] = [
  "dead",
  "not_supported",
  "unknown",
  "paused",
  "retrying",
  "pending",
  "settling",
  "done",
]

/** What became of an entry at all nodes of a target together. */
function together(nodes: readonly string[], found: readonly TargetRecord[]): TargetRecord {
  const [worst = PENDING] = found.toSorted((a, b) => WORST.indexOf(a.state) - WORST.indexOf(b.state))
  if (nodes.length === 0) return worst
  // Over when the last of them is; none is while one waits.
  const [last = PENDING] = found.toSorted((a, b) => (b.ms ?? Infinity) - (a.ms ?? Infinity))
  return {
    ...worst,
    at: last.at,
    ms: last.ms,
    attempts: Math.max(...found.map(({ attempts }) => attempts)),
    calls: found.flatMap(({ calls }) => calls).slice(0, MAX_LISTED_CALLS),
    nodes: Object.fromEntries(nodes.map((node, index) => [node, found[index] ?? PENDING])),
  }
}

function waiting(lane: LaneStatus | undefined): TargetRecord {
  const state = lane?.state === "retrying" || lane?.state === "paused" ? lane.state : "pending"
  return {
    ...PENDING,
    state,
    attempts: state === "pending" ? 0 : (lane?.attempts ?? 0),
    error: lane?.error ?? null,
  }
}

interface Pass {
  readonly of: Epoch
  readonly kind: "settle" | "second" | "stale"
}

const PASS_KINDS = ["settle", "second", "stale"] as const

/** Passes are named after the first entry; a pass itself has none of its own. */
const passesOf = (entry: LogEntry): Pass[] =>
  entry.body.pass || entry.body.kind === "resync" ? [] : PASS_KINDS.map((kind) => ({ of: entry.epoch, kind }))

/** Whether a pass was appended, is due, or (a second one) waits until the entry before it was handled everywhere. */
const passCommands = (tenant: string, { of, kind }: Pass): Command[] => [
  ["GET", idempotencyKey(tenant, RELAY_PRINCIPAL, passId(of, kind))],
  ["ZSCORE", laterKey(tenant), passId(of, kind)],
  ...(kind === "second" ? [["ZSCORE", laterAfterKey(tenant), passId(of, kind)]] : []),
]

function readPasses(passes: readonly Pass[], replies: readonly Reply[]): (Pass & PassRecord)[] {
  let next = 0
  return passes.flatMap((pass): (Pass & PassRecord)[] => {
    const answer = asText(replies[next++])
    const due = asText(replies[next++])
    const waitsFor = pass.kind === "second" ? asText(replies[next++]) : undefined
    const done = /^\S+ \d+ (\d+):\d+/.exec(answer ?? "")?.[1]
    if (done !== undefined) return [{ ...pass, epoch: Number(done), at: isoTime(epochToMs(Number(done))) }]
    if (due !== undefined) return [{ ...pass, epoch: null, at: isoTime(Number(due) / 1000) }]
    return waitsFor === undefined ? [] : [{ ...pass, epoch: null, at: null }]
  })
}

const FAILED: readonly TargetState[] = ["dead", "not_supported"]

function overall(states: readonly TargetRecord[]): InvalidationRecord["state"] {
  if (states.some(({ state }) => FAILED.includes(state))) return "failed"
  return states.every(({ state }) => state === "done") ? "done" : "pending"
}

function toRecord(
  tenant: string,
  { epoch, seq, body }: LogEntry,
  passes: readonly PassRecord[],
  targets: Readonly<Record<string, TargetRecord>>,
): InvalidationRecord {
  return {
    id: String(epoch),
    epoch,
    seq,
    tenant,
    namespace: body.namespace,
    ...shownSelectors(body),
    ...(body.kind === "invalidation" && body.namespace === null ? { everything: true } : {}),
    ...(body.kind === "resync" ? { resync: true } : {}),
    mode: body.mode,
    ...(body.entity ? { entity: body.entity } : {}),
    ...(body.reason === undefined ? {} : { reason: body.reason }),
    ...(body.notes ? { notes: body.notes } : {}),
    ...(body.pass ? { pass: body.pass } : {}),
    by: body.by,
    acceptedAt: isoTime(epochToMs(epoch)),
    state: overall(Object.values(targets)),
    passes: passes.map(({ kind, epoch: at, at: time }) => ({ kind, epoch: at, at: time })),
    ...(body.cause === undefined ? {} : { cause: body.cause }),
    targets,
  }
}

const shownSelectors = (body: EntryBody) =>
  Object.fromEntries(SELECTOR_LISTS.filter((name) => body[name].length > 0).map((name) => [name, body[name]]))
