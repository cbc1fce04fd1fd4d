import type { TargetScope } from "./concern.ts"
import { type Epoch, parseEpoch } from "./epoch.ts"
import { Problem } from "./errors.ts"
import { isPattern, isWithin, matchesPattern } from "./namespace.ts"
import { RELAYS_KEY } from "./keys.ts"
import type { LogEntry } from "./log.ts"
import { findEntry, type InvalidationRecord, readEntries, readRecords } from "./record.ts"
import { asList, type Store } from "./store.ts"
import { type Milliseconds, SECOND } from "./time.ts"
import { mayTouch, type Principal, readsAll, scopePatterns } from "./tokens.ts"

/** `GET /v1/invalidations…`, which the Worker and the relay answer alike. */

export interface RecordsContext {
  readonly store: Store
  readonly principal: Principal
  readonly targets: Readonly<Record<string, TargetScope>>
}

const mayRead = (principal: Principal, entry: LogEntry): boolean =>
  entry.body.namespace === null ? readsAll(principal) : mayTouch(principal, "read", entry.body.namespace)

/** @throws {Problem} `insufficient_scope` where a token may read nothing at all */
function requireAnyRead(principal: Principal): void {
  if (scopePatterns(principal, "read").length === 0) {
    throw new Problem("insufficient_scope", "The token's scopes hold no read:.")
  }
}

/**
 * One record.
 *
 * @throws {Problem} `not_found` when it is unknown, trimmed or out of scope: which of them is nobody's business
 */
export async function getRecord(
  { store, principal, targets }: RecordsContext,
  id: string,
): Promise<InvalidationRecord> {
  requireAnyRead(principal)
  const epoch = parseEpoch(id)
  const entry = epoch === undefined ? undefined : await findEntry(store, principal.tenant, epoch)
  const [record] =
    entry && mayRead(principal, entry) ? await readRecords(store, principal.tenant, [entry], targets) : []
  // A replica may lag behind the publish whose id this is.
  if (!record) throw new Problem("not_found", "There is no such invalidation.", { retryAfter: 1 })
  return record
}

/**
 * Whether no relay says that it lives, by the heartbeat that each gives with every poll: what is pending stays so then.
 * False also where that may not be asked, as by a user of Redis from before there was this.
 */
export const isUnattended = (store: Store, poll: Milliseconds, now: Milliseconds): Promise<boolean> =>
  // Three polls and a while, after which a relay calls itself not ready.
  store.pipeline([["ZRANGEBYSCORE", RELAYS_KEY, String(now - 3 * poll - 10 * SECOND), "+inf"]]).then(
    ([alive]) => asList(alive).length === 0,
    () => false,
  )

const DEFAULT_LIMIT = 100
const MAX_LIMIT = 1_000

/** Reads a `limit`; 1 to 1,000, default 100. @throws {Problem} `invalid_parameter` */
export function parseLimit(text: string | undefined): number {
  if (text === undefined) return DEFAULT_LIMIT
  const limit = /^\d{1,4}$/.test(text) ? Number(text) : 0
  if (limit < 1 || limit > MAX_LIMIT)
    throw new Problem("invalid_parameter", `limit must be 1 to ${MAX_LIMIT}.`)
  return limit
}

function parseBound(name: string, text: string | undefined): Epoch | undefined {
  if (text === undefined) return undefined
  const epoch = parseEpoch(text)
  if (epoch === undefined)
    throw new Problem("invalid_parameter", `${name} must be an epoch: up to 16 digits.`)
  return epoch
}

export interface PageQuery {
  readonly after?: string | undefined
  readonly before?: string | undefined
  readonly ns?: string | undefined
  readonly limit?: string | undefined
}

export interface RecordPage {
  readonly items: readonly InvalidationRecord[]
  /** For the same parameter; null at the end. */
  readonly next: Epoch | null
}

/**
 * A page of the log, only of namespaces in scope. It may be short while `next` is set.
 *
 * @throws {Problem} `invalid_parameter`, `insufficient_scope`
 */
export async function listRecords(context: RecordsContext, query: PageQuery): Promise<RecordPage> {
  const { store, principal, targets } = context
  requireAnyRead(principal)
  const limit = parseLimit(query.limit)
  const after = parseBound("after", query.after)
  const before = parseBound("before", query.before)
  if (after !== undefined && before !== undefined) {
    throw new Problem("invalid_parameter", "after and before cannot be given together.")
  }
  const { ns } = query
  if (ns !== undefined) {
    if (!isPattern(ns)) throw new Problem("invalid_parameter", "ns must be '*' or a namespace.")
    const allowed = scopePatterns(principal, "read").some(
      (held) => held === "*" || (ns !== "*" && isWithin(ns, held)),
    )
    if (!allowed)
      throw new Problem("insufficient_scope", "The token's scopes hold no read: for this pattern.")
  }
  const bounds = before === undefined ? { after: after ?? 0 } : { before }
  const entries = await readEntries(store, principal.tenant, { ...bounds, limit })
  const seen = entries.filter(
    (entry) =>
      mayRead(principal, entry) &&
      (ns === undefined ||
        ns === "*" ||
        (entry.body.namespace !== null && matchesPattern(entry.body.namespace, ns))),
  )
  const last = entries.at(-1)
  return {
    items: await readRecords(store, principal.tenant, seen, targets),
    next: entries.length === limit && last ? last.epoch : null,
  }
}
