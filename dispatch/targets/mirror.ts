import type { TagCodec } from "../../protocol/tags.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import { type Answer, ask, beyond, byStatus, member, parseJson, tidy, troubleOf } from "./answer.ts"
import type { Batch, Capabilities, Driver, Outcome, Surroundings, VendorRequest } from "./target.ts"

/** What mirrors of epochs do alike: whatever was invalidated, all that they hold is written anew. */

export const mirror = (heartbeat: Milliseconds, tags: TagCodec): Capabilities => ({
  kinds: { everything: { modes: ["invalidate", "purge"], batch: 1 } },
  mixed: false,
  tags,
  isIdempotent: true,
  mirror: { heartbeat },
})

/** Writes a mirror, from a read that is made directly before. */
export const writeMirror = (
  surroundings: Surroundings,
  host: string,
  token: string,
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
    return "outcome" in answer ? answer : judge(host, answer, now(), token)
  },
})

const NO_TAGS: TagCodec = { encode: (tag) => tag, decode: (label) => label }

/** No value is at fault for what a store of keys does not take: it is the store, its address, or the credentials. */
function judge(who: string, answer: Answer, now: Milliseconds, token: string): Outcome {
  const body = parseJson(answer.text)
  const errors = member(body, "errors")
  const error = member(body, "error") ?? (Array.isArray(errors) ? (errors[0] as unknown) : undefined)
  const message = member(error, "message")
  const said = typeof message === "string" ? tidy(message, [token]) : ""
  const outcome = byStatus(who, answer, now, said)
  if (outcome.outcome === "accepted" && member(body, "success") === false) {
    return troubleOf(answer, now, `${who} answered ${answer.status} without success: ${said}`)
  }
  if (outcome.outcome !== "refused") return outcome
  return answer.status === 404 || answer.status === 402
    ? { outcome: "unauthorised", status: answer.status, detail: outcome.detail }
    : troubleOf(answer, now, outcome.detail)
}
