import { type Head, parseHead } from "../protocol/epoch.ts"
import { headKey, neverKey, RELAY_ITEMS_KEY, RELAYS_KEY } from "../protocol/keys.ts"
import { lookScript } from "../protocol/scripts.gen.ts"
import { asList, asText, type Store, StoreError } from "../protocol/store.ts"
import { DAY, type Milliseconds } from "../protocol/time.ts"

/** How long a relay that no longer says anything is still listed. */
const FORGET_RELAYS: Milliseconds = DAY

/** Ours: how many logs one script looks at, so that it blocks nobody. */
const HEADS_AT_ONCE = 500

/** What a relay says of itself while it looks. */
export interface Beat {
  readonly relay: string
  /** The last one that Redis acknowledged, 0 for none. */
  readonly last: number
  /** What is told of the relay, JSON; undefined where that stands as it was. */
  readonly item: string | undefined
}

/** What one look at Redis showed. */
export interface Looked {
  /** A server that takes no writes: nothing was written there. */
  readonly isReplica: boolean
  /** `-` where the server does not tell who it is. */
  readonly identity: string
  /** Which keys are evicted when Redis is full; "" where the server does not tell. */
  readonly policy: string
  /** What was written now, or was last. */
  readonly beat: number
  /** What this relay wrote is gone, or an older state of it stands there: the store went back. Nothing was written. */
  readonly isLost: boolean
  /** Why the beat could not be written; undefined where it was. */
  readonly failure: string | undefined
  /** Of each tenant that was asked for, in order. */
  readonly heads: readonly (Head | undefined)[]
}

/**
 * Asks Redis who it is and how far each tenant's log has come, and says that this relay lives: one command for up to
 * 500 tenants.
 *
 * @throws {StoreError}
 */
export async function look(store: Store, tenants: readonly string[], beat: Beat): Promise<Looked> {
  const first = await lookAt(store, tenants.slice(0, HEADS_AT_ONCE), beat).catch((error: unknown) => {
    if (!(error instanceof StoreError) || !error.message.startsWith("CROSSSLOT")) throw error
    return undefined
  })
  if (!first) return lookApart(store, tenants, beat)
  const heads = [...first.heads]
  for (let from = HEADS_AT_ONCE; from < tenants.length; from += HEADS_AT_ONCE) {
    const more = await lookAt(store, tenants.slice(from, from + HEADS_AT_ONCE))
    heads.push(...more.heads)
  }
  return { ...first, heads }
}

/** The same where no script may have keys of several slots, as at a node of a cluster that holds all of them. */
async function lookApart(store: Store, tenants: readonly string[], beat: Beat): Promise<Looked> {
  const own = await lookAt(store, [], { ...beat, item: undefined }, [RELAYS_KEY, RELAYS_KEY])
  if (beat.item !== undefined && !own.isLost && !own.isReplica)
    await store.pipeline([["HSET", RELAY_ITEMS_KEY, beat.relay, beat.item]])
  const heads: Looked["heads"][number][] = []
  for (const tenant of tenants) {
    const never = neverKey(tenant)
    heads.push(...(await lookAt(store, [tenant], undefined, [never, never])).heads)
  }
  return { ...own, heads }
}

/** @param fleet the keys of relays and of what they say; others of one slot where there is nothing to write */
async function lookAt(
  store: Store,
  tenants: readonly string[],
  beat?: Beat,
  fleet: readonly [relays: string, items: string] = [RELAYS_KEY, RELAY_ITEMS_KEY],
): Promise<Looked> {
  const keys = [...fleet, ...tenants.map(headKey)]
  const args = [beat?.relay ?? "", String(beat?.last ?? 0), beat?.item ?? "", String(FORGET_RELAYS), ""]
  const reply = asList(await store.script(lookScript, keys, args))
  const [role, identity, policy, written, lost, failure] = reply.map(asText)
  const texts = asList(reply[6])
  if (!Number.isFinite(Number(written)) || texts.length !== tenants.length)
    throw new StoreError("refused", "the look script answered something else than it is written to")
  return {
    isReplica: role === "slave",
    identity: identity ?? "-",
    policy: policy ?? "",
    beat: Number(written),
    isLost: lost === "1",
    failure: failure === "" ? undefined : failure,
    heads: tenants.map((_, index) => parseHead(asText(texts[index]))),
  }
}
