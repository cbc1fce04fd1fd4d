import { workersCache as workersCacheTags } from "../../protocol/tag-rules.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import { type Answer, beyond, member, parseJson, troubleOf, verdict, more } from "./answer.ts"
import { cloudflareErrors } from "./cloudflare-errors.ts"
import { CALLS, MAX_ITEMS, PROPAGATION } from "./cloudflare-limits.ts"
import { driverOf } from "./driver.ts"
import type {
  Capabilities,
  KindCapability,
  Outcome,
  TargetConfigOf,
  TargetDriver,
  TargetTraits,
  Value,
} from "./target.ts"
import { MAX_VALUE_BYTES, MEND, webhook } from "./webhook.ts"

const SOFT_AND_HARD: KindCapability = { modes: ["invalidate", "purge"], batch: MAX_ITEMS }

/** Its key has no host, so nothing is known by one: https://developers.cloudflare.com/workers/cache/limitations/#purge-by-host */
const CAPABILITIES: Capabilities = {
  kinds: { tag: SOFT_AND_HARD, url: SOFT_AND_HARD, prefix: SOFT_AND_HARD, everything: SOFT_AND_HARD },
  // Tags and paths go in one call, and calls are what is limited; the agent lets everything stand for what is beside it.
  mixed: true,
  maxBytes: MAX_VALUE_BYTES,
  tags: workersCacheTags.codec,
  propagation: PROPAGATION,
}

/**
 * A Worker's own cache, which that Worker alone can purge: by the agent of `tidemark/workers-cache` within it, which
 * takes the webhook of the `http` target. `endpoint`, where given, stands in for `url`.
 */
export const workersCacheTraits: TargetTraits<TargetConfigOf<"workers-cache">> = {
  type: "workers-cache",
  capabilities: () => CAPABILITIES,
  pace: ({ plan }) => [
    {
      limit: "rate",
      bucket: "purge",
      kinds: ["tag", "url", "prefix", "everything"],
      per: "call",
      ...CALLS[plan],
    },
  ],
}

/** How it is asked. */
export const workersCache: TargetDriver<TargetConfigOf<"workers-cache">> = /* @__PURE__ */ driverOf(
  workersCacheTraits,
  (config, surroundings) => {
    const agent = webhook(config, surroundings)
    return {
      async purge(batch, signal) {
        const isHome = ({ kind, value }: Value) => kind === "url" && new URL(value).pathname === "/"
        const unsupported =
          beyond(CAPABILITIES, batch) ??
          (config.allowEverything ? undefined : more(batch, isHome, () => "the url of a home page"))
        if (unsupported) return unsupported
        const answer = await agent.deliver(batch, signal)
        return "outcome" in answer
          ? answer
          : judge(agent.host, answer, batch.values.length, surroundings.now(), config.secret)
      },
    }
  },
)

/** A site that answers 200 to what it does not know is not the agent, and one without it may be about to get it. */
function judge(who: string, answer: Answer, count: number, now: Milliseconds, secret: string): Outcome {
  const { status } = answer
  const body = parseJson(answer.text)
  const { codes, about } = cloudflareErrors(body, secret)
  if (status === 404 || status === 405)
    return troubleOf(answer, now, `${who} answered ${status}: no agent is there`)
  return verdict(who, answer, now, {
    mend: MEND,
    // The agent passes on codes alone.
    said: codes,
    // Without one it is a delivery that the agent cannot read.
    isOwn: codes !== "",
    isTaken: member(body, "success") === true,
    // Who asks Cloudflare is the Worker: which of ours would mend that is not known.
    about: about === "keys" ? "us" : about,
    count,
  })
}
