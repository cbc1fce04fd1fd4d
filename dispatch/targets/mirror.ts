import type { TagCodec } from "../../protocol/tags.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import { type Answer, ask, beyond } from "./answer.ts"
import type { Batch, Capabilities, Driver, Outcome, Surroundings, VendorRequest } from "./target.ts"

/** What mirrors of epochs do alike: whatever was invalidated, all that they hold is written anew. */

export const mirror = (heartbeat: Milliseconds, tags: TagCodec): Capabilities => ({
  kinds: { everything: { modes: ["invalidate", "purge"], batch: 1 } },
  mixed: false,
  tags,
  isIdempotent: true,
  mirror: { heartbeat },
})

/**
 * Writes a mirror, from a read that is made directly before.
 *
 * @param judge no value is at fault for what a store of keys does not take: it is the store, its address, or the
 *   credentials
 */
export const writeMirror = (
  surroundings: Surroundings,
  host: string,
  judge: (answer: Answer, now: Milliseconds) => Outcome,
  requestOf: (batch: Batch, value: string) => { readonly url: string; readonly request: VendorRequest },
): Driver => ({
  async purge(batch, signal) {
    const unsupported = beyond(mirror(0, NO_TAGS), batch)
    if (unsupported) return unsupported
    const { readEpochs, now } = surroundings
    if (!readEpochs) return { outcome: "trouble", detail: "the epochs cannot be read here" }
    let value: string
    try {
      value = await readEpochs()
    } catch {
      return { outcome: "trouble", detail: "the store did not answer" }
    }
    const { url, request } = requestOf(batch, value)
    const answer = await ask(surroundings, host, url, request, signal)
    return "outcome" in answer ? answer : judge(answer, now())
  },
})

const NO_TAGS: TagCodec = { encode: (tag) => tag, decode: (label) => label }
