import type { Config } from "../protocol/config/schema.ts"
import { type Generation, type Head, ORIGIN, type Position } from "../protocol/epoch.ts"
import { type EntryBody, NO_SELECTORS } from "../protocol/invalidation.ts"
import { headKey, logKey, namespaceKey, neverKey, wakeChannel } from "../protocol/keys.ts"
import { encodeBody } from "../protocol/log.ts"
import { ROOT } from "../protocol/namespace.ts"
import { adoptScript } from "../protocol/scripts.gen.ts"
import { asList, asText, type Store, StoreError } from "../protocol/store.ts"

/**
 * - `same`, `adopted`   nothing is amiss
 * - `reported`          another identity, which the configuration takes for a planned failover
 * - the others          a tenant resync was made: a new generation, and an entry that all lanes follow
 */
export type AdoptReason = (typeof REASONS)[number]

const REASONS = ["same", "adopted", "reported", "missing", "identity", "rolledBack"] as const

export interface Adoption {
  readonly reason: AdoptReason
  readonly head: Position
  /** Neither the store nor this relay knows of anything before: most likely a first start. */
  readonly isFirst: boolean
}

const CAUSE = "\u0000cause\u0000"
const AFTER = "\u0000after\u0000"

/** The entry's body around what only the script knows. */
function bodyParts(mode: EntryBody["mode"], relay: string): [string, string, string] {
  const body: EntryBody = {
    kind: "resync",
    namespace: null,
    mode,
    by: { relay },
    cause: `${CAUSE} after ${AFTER}`,
    ...NO_SELECTORS,
  }
  const [before, rest] = encodeBody(body).split(JSON.stringify(CAUSE).slice(1, -1))
  const [between, after] = (rest ?? "").split(JSON.stringify(AFTER).slice(1, -1))
  return [before ?? "", between ?? "", after ?? ""]
}

/**
 * What a head that was read says, held against what is remembered.
 *
 * - `same`   nothing new
 * - `moved`  something was published; it is remembered now
 * - `amiss`  something may be lost, or nobody has adopted the log yet: `adopt` is to compare, in one step with the store
 */
export type HeadVerdict = "same" | "moved" | "amiss"

/** What this relay remembers of one tenant's log, and holds the stored one against, on every connect and every poll. */
export class Memory {
  #seen: Position = ORIGIN
  /** Of which something is known to be lost; 0 for none. */
  #lost: Generation = 0

  get seen(): Position {
    return this.#seen
  }

  /** The store was seen to have gone back: whatever was written under this generation may be missing. */
  loseTrust(): void {
    this.#lost ||= this.#seen.generation
  }

  /** @param identity of the server that it was read from; `-`, where it has none, says nothing */
  judge(head: Head | undefined, identity: string): HeadVerdict {
    const seen = this.#seen
    if (!head || seen.generation === 0 || this.#lost !== 0) return "amiss"
    if (identity !== "-" && head.identity !== identity) return "amiss"
    const isSame = head.generation === seen.generation
    if (head.epoch < seen.epoch || (isSame && head.seq < seen.seq)) return "amiss"
    if (isSame && head.epoch === seen.epoch && head.seq === seen.seq) return "same"
    const { generation, epoch, seq } = head
    this.#seen = { generation, epoch, seq }
    return "moved"
  }

  /**
   * Compares and, where that shows a loss, resyncs the tenant: once, whichever relay comes first.
   *
   * @throws {StoreError}
   */
  async adopt(store: Store, tenant: string, relay: string, config: Config): Promise<Adoption> {
    const { onIdentity, mode } = config.relay.resync
    const keys = [headKey(tenant), logKey(tenant), namespaceKey(tenant, ROOT), neverKey(tenant)]
    const args = [
      String(this.#seen.generation),
      String(this.#seen.seq),
      String(this.#seen.epoch),
      wakeChannel(tenant, ROOT),
      "",
      onIdentity,
      ...bodyParts(mode, relay),
      String(this.#lost),
    ]
    const answer = asList(await store.script(adoptScript, keys, args)).map(asText)
    const [told, generation, epoch, seq, last] = answer
    const reason = REASONS.find((one) => one === told)
    if (!reason)
      throw new StoreError("refused", "the adopt script answered something else than it is written to")
    const head = { generation: Number(generation), epoch: Number(epoch), seq: Number(seq) }
    const isFirst = reason === "missing" && this.#seen.epoch === 0 && last === "0"
    this.#seen = head
    this.#lost = 0
    return { reason, head, isFirst }
  }
}
