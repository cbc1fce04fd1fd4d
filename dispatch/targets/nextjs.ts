import { nextjs as nextjsTags } from "../../protocol/tag-rules.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import { type Answer, beyond, isPage, troubleOf, verdict, more } from "./answer.ts"
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

/** Ours: Next has no limit, and applies them one by one. */
const MAX_VALUES = 100

const SOFT_AND_HARD: KindCapability = { modes: ["invalidate", "purge"], batch: MAX_VALUES }

/**
 * `revalidatePath` has no soft form: what it names is expired at once.
 *
 * @see https://nextjs.org/docs/app/api-reference/functions/revalidatePath
 */
const HARD: KindCapability = { modes: ["purge"], batch: MAX_VALUES }

const KINDS: Capabilities["kinds"] = { tag: SOFT_AND_HARD, url: HARD, everything: HARD }

/**
 * A route of the user's Next.js app, `examples/nextjs-revalidate/route.ts`, told by the same signed webhook as an `http`
 * target. `endpoint`, where given, stands in for `url`.
 */
export const nextjsTraits: TargetTraits<TargetConfigOf<"nextjs">> = {
  type: "nextjs",
  capabilities: ({ prefixes = false }) => ({
    // Next goes by the route's file and not by the address: `/(shop)/[lang]/…` is no prefix of `/en/…`, and asked by that
    // it does nothing, and does not say so.
    kinds: prefixes ? { ...KINDS, prefix: HARD } : KINDS,
    mixed: true,
    maxBytes: MAX_VALUE_BYTES,
    tags: nextjsTags.codec,
  }),
  pace: () => [],
}

/** How it is asked. */
export const nextjs: TargetDriver<TargetConfigOf<"nextjs">> = /* @__PURE__ */ driverOf(
  nextjsTraits,
  (config, surroundings) => {
    const receiver = webhook(config, surroundings)
    const capabilities = nextjs.capabilities(config)
    return {
      async purge(batch, signal) {
        const unsupported = beyond(capabilities, batch) ?? more(batch, isRoute, whatRoute)
        if (unsupported) return unsupported
        const answer = await receiver.deliver(batch, signal)
        return "outcome" in answer
          ? answer
          : judge(receiver.host, answer, batch.values.length, surroundings.now())
      },
    }
  },
)

/**
 * Next labels each page by the layouts and the page that made it: `/layout` is everything, and `/blog/[slug]/page` all of
 * a route. By those labels it finds what it is told by a path or a tag, so that a url, and a tag without a prefix, can
 * be one.
 *
 * @see https://nextjs.org/docs/app/api-reference/functions/revalidatePath
 */
const isRoute = ({ kind, value }: Value): boolean => {
  if (kind === "tag") return /^_N_T_.*\/(?:layout|page)$/.test(value)
  return kind === "url" && /\/(?:layout|page)\/?$/.test(plain(new URL(value).pathname))
}

const whatRoute = ({ kind }: Value): string =>
  kind === "url" ? "a url that ends in /layout or /page" : "a tag that is a layout's or a route's"

/** As Next knows it, which decodes segments. */
function plain(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}

/** What our own route says of what it told Next; a page of the app, or a log-in before it, says something else. */
const TOLD = /^revalidated\b/

/**
 * A 404 or 405 is an app without the route, as one that is being deployed: no value is at fault. By 422 alone the route
 * says that one is; its 400 means a delivery that it cannot read.
 */
function judge(who: string, answer: Answer, count: number, now: Milliseconds): Outcome {
  const { status, text } = answer
  if (status === 404 || status === 405)
    return troubleOf(answer, now, `${who} answered ${status}: it has no such route`)
  const isOwn = status === 422 && !isPage(answer)
  return verdict(who, answer, now, { mend: MEND, isOwn, isTaken: status === 200 && TOLD.test(text), count })
}
