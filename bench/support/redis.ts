import { readFile } from "node:fs/promises"
import { systemClock } from "../../dispatch/clock.ts"
import type { LaneName } from "../../dispatch/commit.ts"
import { Lease } from "../../dispatch/lease.ts"
import { type Head, parseHead, type Position } from "../../protocol/epoch.ts"
import { type Invalidation, NO_SELECTORS } from "../../protocol/invalidation.ts"
import { headKey, taggedKey } from "../../protocol/keys.ts"
import type { Namespace } from "../../protocol/namespace.ts"
import { type Idempotency, planEntry, publish } from "../../protocol/publish.ts"
import * as scripts from "../../protocol/scripts.gen.ts"
import type { Store } from "../../protocol/store.ts"
import { DAY, type Microseconds, type Milliseconds, MINUTE } from "../../protocol/time.ts"
import { openStore } from "../../test/support/publish.ts"
import type { Stage } from "./stage.ts"

/** A Redis that is looked at from inside: by the product's own store, and by an administrator. */
export interface Observed {
  readonly store: Store
  readonly admin: Awaited<ReturnType<Stage["client"]>>
  readonly pid: number
}

/** How an administrator's commands are told from the product's in SLOWLOG. */
const ADMIN = "bench-admin"

/** As many commands as one measurement may send; Redis forgets the oldest of more. */
const MOST_COMMANDS = 200_000

/** Starts a Redis of its own. @param args more arguments of redis-server */
export async function observed(stage: Stage, args: readonly string[] = []): Promise<Observed> {
  const { url, pid } = await stage.redis([...args, "--slowlog-max-len", String(MOST_COMMANDS)])
  const { store, close } = await openStore(url)
  stage.onClose(close)
  const admin = await stage.client(url)
  await admin.sendCommand(["CLIENT", "SETNAME", ADMIN])
  return { store, admin, pid }
}

/** The version that it runs, as it says itself. */
export const versionOf = async ({ admin }: Observed): Promise<string> =>
  /^(?:valkey|redis)_version:(\S+)/m.exec(await admin.info("server"))?.[1] ?? "unknown"

/** A command that the product sent, and how long Redis was busy with it. */
export interface Inside {
  /** The name of a script, or of the command. */
  readonly what: string
  readonly took: Microseconds
}

const NAMES: ReadonlyMap<string, string> = new Map(
  Object.values(scripts).map(({ name, sha1 }) => [sha1, `${name}.lua`]),
)

/**
 * All that Redis was asked meanwhile, by SLOWLOG: the times are those inside Redis, and no network is in them. What the
 * scripts call is part of their time.
 */
export async function insideOf(
  { admin }: Pick<Observed, "admin">,
  work: () => Promise<unknown>,
): Promise<readonly Inside[]> {
  await admin.sendCommand(["CONFIG", "SET", "slowlog-log-slower-than", "0"])
  await admin.sendCommand(["SLOWLOG", "RESET"])
  try {
    await work()
  } finally {
    await admin.sendCommand(["CONFIG", "SET", "slowlog-log-slower-than", "-1"])
  }
  const entries = (await admin.sendCommand(["SLOWLOG", "GET", String(MOST_COMMANDS)])) as unknown as [
    id: number,
    at: number,
    took: Microseconds,
    command: string[],
    address: string,
    client: string,
  ][]
  return entries
    .filter(([, , , , , client]) => client !== ADMIN)
    .map(([, , took, [command = "", sha1 = ""]]) => ({
      what: NAMES.get(sha1) ?? command.toUpperCase(),
      took,
    }))
}

/**
 * For how long Redis's main thread was ready to run, so far, and had no processor: SLOWLOG counts that as its own time.
 *
 * @see https://docs.kernel.org/scheduler/sched-stats.html
 */
export async function waitedFor({ pid }: Pick<Observed, "pid">): Promise<Milliseconds> {
  const [, nanoseconds] = (await readFile(`/proc/${pid}/task/${pid}/schedstat`, "utf8")).split(" ")
  return Number(nanoseconds) / 1_000_000
}

/** Bytes that a key takes, as Redis counts all of it; 0 where there is none. */
export const bytesOf = async ({ admin }: Pick<Observed, "admin">, key: string): Promise<number> =>
  Number(await admin.sendCommand(["MEMORY", "USAGE", key, "SAMPLES", "0"]))

/** How something is published; all else is as of a namespace that says nothing. */
export interface PublishOptions {
  /** Default: the server's own. */
  readonly clock?: Microseconds
  /** Default: 10^7, and so more than there are. */
  readonly maxTags?: number
  /** Default: 10^7. */
  readonly maxEntries?: number
  /** Default: none. */
  readonly idempotency?: Idempotency
  /** Has each entry followed by passes, a settled one and a hard one. Default false. */
  readonly withPasses?: boolean
}

export const PLENTY = 10_000_000
/** As a namespace has it by default. */
export const MAX_CACHE_TTL = 30 * DAY

/** Publishes invalidations in one request. Answers where they are in the log. */
export async function publishTo(
  { store }: Pick<Observed, "store">,
  tenant: string,
  invalidations: readonly (Partial<Invalidation> & { readonly namespace: Namespace | null })[],
  options: PublishOptions = {},
): Promise<Position[]> {
  const { clock, maxTags = PLENTY, maxEntries = PLENTY, idempotency, withPasses = false } = options
  const settings = { maxCacheTtl: MAX_CACHE_TTL, maxTags, settle: undefined, secondPass: undefined }
  const defaults = { settle: withPasses ? MINUTE : 0, secondPass: 0 }
  const outcome = await publish(store, {
    tenant,
    maxEntries,
    entries: invalidations.map((one) =>
      planEntry(
        { ...NO_SELECTORS, mode: "invalidate", ...one, ...(withPasses ? { staleFor: MINUTE } : {}) },
        settings,
        { token: "bench" },
        defaults,
      ),
    ),
    ...(clock === undefined ? {} : { clock }),
    ...(idempotency ? { idempotency } : {}),
  })
  if (outcome.status !== "accepted") throw new Error(`not recorded: ${outcome.status}`)
  return outcome.entries.map((entry) => ({ generation: outcome.generation, ...entry }))
}

/** @throws where there is no log */
export async function headOf({ admin }: Pick<Observed, "admin">, tenant: string): Promise<Head> {
  const head = parseHead(await admin.get(headKey(tenant)))
  if (!head) throw new Error(`${tenant} has no head`)
  return head
}

/** The lease of a lane, for as long as a measurement takes. */
export const leaseOf = ({ store }: Pick<Observed, "store">, lane: LaneName): Lease =>
  new Lease({ store, clock: systemClock, ...lane, relay: "bench", length: 60 * MINUTE })

/** All keys of a tenant once more, under another's name: in no time beside what it took to fill them. */
export async function copyTenant(
  { admin }: Pick<Observed, "admin">,
  from: string,
  to: string,
): Promise<void> {
  for (const key of await admin.keys(keysOf(from)))
    await admin.copy(key, key.replace(`{${from}}`, `{${to}}`), { REPLACE: true })
  // Its fields are keys.
  const tagged = Object.keys(await admin.hGetAll(taggedKey(from)))
  const fields = tagged.flatMap((key) => [key.replace(`{${from}}`, `{${to}}`), ""])
  if (fields.length > 0) await admin.sendCommand(["HSET", taggedKey(to), ...fields])
}

/** All keys of a tenant go, before it resolves: what is freed later would be freed while something is measured. */
export async function dropTenant({ admin }: Pick<Observed, "admin">, tenant: string): Promise<void> {
  const keys = await admin.keys(keysOf(tenant))
  if (keys.length > 0) await admin.del(keys)
}

const keysOf = (tenant: string): string => `tm:{${tenant}}:*`

/** Numbered texts of one length, which no two numbers share. */
export const textOf = (nth: number, length: number, begin = "post-"): string =>
  begin + String(nth).padStart(length - begin.length, "0")

/** Fills a namespace with tags of one length, a thousand a request, from a number on. */
export async function fillTags(
  redis: Observed,
  tenant: string,
  namespace: Namespace,
  count: number,
  {
    length = 12,
    from = 0,
    ...options
  }: PublishOptions & { readonly length?: number; readonly from?: number } = {},
): Promise<void> {
  for (let at = 0; at < count; at += STEP) {
    const tags = Array.from({ length: Math.min(STEP, count - at) }, (_, nth) =>
      textOf(from + at + nth, length),
    )
    await publishTo(redis, tenant, [{ namespace, tags }], options)
  }
}

const STEP = 1_000
