import type { Namespace } from "./namespace.ts"

/**
 * Every key and channel name, built here and nowhere else. All keys of a tenant share the hash tag `{tenant}`: one
 * slot, so that scripts over several of them are atomic on a cluster too.
 */
const ofTenant = (tenant: string, rest: string): string => `tm:{${tenant}}:${rest}`

/** `<generation> <last epoch> <last seq> <identity>` */
export const headKey = (tenant: string): string => ofTenant(tenant, "head")
/** `<epoch> <watermark> <hard> <floor>`; of the root: `n:` */
export const namespaceKey = (tenant: string, namespace: Namespace): string =>
  ofTenant(tenant, `n:${namespace}`)
/** sorted set: tag, or `u:<url>`, to epoch */
export const tagsKey = (tenant: string, namespace: Namespace): string => ofTenant(tenant, `tags:${namespace}`)
/** how many namespaces have a row */
export const namespacesKey = (tenant: string): string => ofTenant(tenant, "namespaces")
/** hash, field per key of tags that there is */
export const taggedKey = (tenant: string): string => ofTenant(tenant, "tagged")
/** stream, id `<epoch>-0` */
export const logKey = (tenant: string): string => ofTenant(tenant, "log")
/** `<fingerprint> <generation> <epoch>:<seq> …`, expires */
export const idempotencyKey = (tenant: string, principal: string, key: string): string =>
  ofTenant(tenant, `idem:${principal}:${key}`)
/** sorted set of passes to come, by when they are due (microseconds) */
export const laterKey = (tenant: string): string => ofTenant(tenant, "later")
/** hash of those passes' bodies */
export const laterItemsKey = (tenant: string): string => ofTenant(tenant, "later:items")
/** sorted set of second passes whose first is not yet handled everywhere, by the epoch that they wait for */
export const laterAfterKey = (tenant: string): string => ofTenant(tenant, "later:after")
/** hash, field per lane: `<owner> <generation> <epoch> <seq>` */
export const cursorKey = (tenant: string): string => ofTenant(tenant, "cursor")
/** hash, field per lane: what it last said of itself, JSON */
export const lanesKey = (tenant: string): string => ofTenant(tenant, "lanes")
/** hash, field per target of several nodes: their names, a JSON list */
export const nodesKey = (tenant: string): string => ofTenant(tenant, "nodes")
/** hash, field per lane that no live relay has configured: since when, in ms */
export const removedKey = (tenant: string): string => ofTenant(tenant, "removed")
/** string, expires: owner of a lane */
export const leaseKey = (tenant: string, target: string): string => ofTenant(tenant, `lease:${target}`)
/** stream of receipts, id `<last epoch covered>-0` */
export const sentKey = (tenant: string, target: string): string => ofTenant(tenant, `sent:${target}`)
/** sorted set by epoch: receipts of what a range left out */
export const lateKey = (tenant: string, target: string): string => ofTenant(tenant, `late:${target}`)
/** sorted set of retries of items, by when they are due (milliseconds) */
export const dueKey = (tenant: string, target: string): string => ofTenant(tenant, `due:${target}`)
/** hash of those items, with their own selectors */
export const dueItemsKey = (tenant: string, target: string): string => ofTenant(tenant, `due:items:${target}`)
/** sorted set of what is to be looked at after its purge, by when (milliseconds) */
export const verifyKey = (tenant: string, target: string): string => ofTenant(tenant, `verify:${target}`)
/** hash: namespaces whose tag a response was seen to carry, and when that was (milliseconds) */
export const seenKey = (tenant: string): string => ofTenant(tenant, "seen")
/** sorted set by epoch: `<epoch> fresh`, or `stale` */
export const verifiedKey = (tenant: string, target: string): string => ofTenant(tenant, `verified:${target}`)
/** stream of dead letters */
export const deadKey = (tenant: string, target: string): string => ofTenant(tenant, `dead:${target}`)
/** Never written: deleting it lets a script start with a command that Redis allows when it is full. */
export const neverKey = (tenant: string): string => ofTenant(tenant, "never")
/** Of all that is an account's, apart from any tenant's slot. */
const ofAccount = (account: string, rest: string): string => `tm:pace:{${account}}:${rest}`
/** What is used of one of an account's limits: a hash, a sorted set or a string, as `pace.lua` has it. */
export const paceKey = (account: string, bucket: string): string => ofAccount(account, bucket)
/** string, expires: until when (ms) the vendor wants no calls of the account */
export const holdKey = (account: string): string => ofAccount(account, "hold:now")
/** Never written, as a tenant's own. */
export const paceNeverKey = (account: string): string => ofAccount(account, "never:now")
/** sorted set of relays by heartbeat (milliseconds) */
export const RELAYS_KEY = "tm:relays"
/** hash: what each relay says of itself, JSON */
export const RELAY_ITEMS_KEY = "tm:relays:items"

const CHANNELS = "tm:v1:"

/** The pattern that every wake and every probe matches. */
export const WAKE_PATTERN = `${CHANNELS}*`
/** Matches every wake of one tenant, and nothing else. */
export const tenantWakePattern = (tenant: string): string => `${CHANNELS}{${tenant}}:*`
export const wakeChannel = (tenant: string, namespace: Namespace): string =>
  `${CHANNELS}{${tenant}}:${namespace}`
/** Matched by the same pattern as wakes, so that a probe proves the subscription that wakes come by. */
export const probeChannel = (relay: string): string => `${CHANNELS}probe:${relay}`

const WAKE_CHANNEL = /^tm:v1:\{([a-z0-9-]+)\}:(.*)$/s

/** Whose wake a channel carries; undefined for probes and everything foreign. */
export function parseWakeChannel(channel: string): { tenant: string; namespace: Namespace } | undefined {
  const match = WAKE_CHANNEL.exec(channel)
  return match?.[1] === undefined || match[2] === undefined
    ? undefined
    : { tenant: match[1], namespace: match[2] }
}
