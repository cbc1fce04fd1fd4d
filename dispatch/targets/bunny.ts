import { bunny as bunnyTags } from "../../protocol/tag-rules.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import {
  type Answer,
  ask,
  baseAddress,
  beyond,
  isPage,
  parseJson,
  type Reading,
  textOf,
  tidy,
  verdict,
  more,
} from "./answer.ts"
import { driverOf } from "./driver.ts"
import type {
  Batch,
  Capabilities,
  KindCapability,
  Outcome,
  TargetConfigOf,
  TargetDriver,
  TargetTraits,
  Value,
} from "./target.ts"

/** @see https://docs.bunny.net/api-reference/core/purge/purge-url */
const BASE_URL = "https://api.bunny.net"

/**
 * Of the account, and one for each of the two types that Bunny knows.
 *
 * @see https://docs.bunny.net/docs/cdn-api-purge-rate-limits
 */
const EXACT = { perSecond: 5, burst: 120 }
const PREFIX = { perSecond: 0.5, burst: 20 }

/** Bunny only removes, one value a call. */
const ONE: KindCapability = { modes: ["purge"], batch: 1 }

const CAPABILITIES: Capabilities = {
  kinds: { tag: ONE, url: ONE, prefix: ONE, everything: ONE },
  mixed: false,
  tags: bunnyTags.codec,
}

/**
 * Bunny's purging by URL and prefix, and of a pull zone by tag or as a whole. `endpoint` stands in for
 * `https://api.bunny.net`.
 */
export const bunnyTraits: TargetTraits<TargetConfigOf<"bunny">> = {
  type: "bunny",
  capabilities: () => CAPABILITIES,
  pace: () => [
    { limit: "rate", bucket: "exact", kinds: ["url"], only: isExact, per: "call", ...EXACT },
    // Which of the two a purge by tag or of a zone takes is not published: the slower one, to be sure.
    {
      limit: "rate",
      bucket: "prefix",
      kinds: ["url", "prefix", "tag", "everything"],
      only: (value) => !isExact(value),
      per: "call",
      ...PREFIX,
    },
  ],
}

/** How it is asked. */
export const bunny: TargetDriver<TargetConfigOf<"bunny">> = /* @__PURE__ */ driverOf(
  bunnyTraits,
  ({ endpoint, pullZone, token }, surroundings) => {
    const { base, host } = baseAddress("endpoint", endpoint ?? BASE_URL)
    if (!/^[\x21-\x7e]+$/.test(token)) throw new TypeError("token is empty, or holds what no header may")
    return {
      async purge(batch, signal) {
        const [value] = batch.values
        const unsupported = beyond(CAPABILITIES, batch) ?? pattern(batch)
        if (unsupported || !value)
          return unsupported ?? { outcome: "unsupported", detail: "nothing to purge" }
        const { path, headers, body } = requestOf(pullZone, value)
        const init = { method: "POST", headers: { ...headers, accesskey: token }, ...(body && { body }) }
        const answer = await ask(surroundings, host, base + path, init, signal)
        return "outcome" in answer ? answer : judge(host, answer, surroundings.now(), token)
      },
    }
  },
)

/**
 * A path that ends in a slash is counted as a prefix, whatever `exactPath` says: the page makes no exception for that.
 *
 * @see https://docs.bunny.net/docs/cdn-api-purge-rate-limits
 */
const isExact = ({ kind, value }: Pick<Value, "kind" | "value">): boolean =>
  kind === "url" && !new URL(value).pathname.endsWith("/")

/** A `*` in a URL or a tag stands for anything there, and there is no other way to say one: a tag `*` is the zone. */
const pattern = (batch: Batch): Outcome | undefined =>
  more(
    batch,
    ({ kind, value }) => kind !== "everything" && value.includes("*"),
    ({ kind }) => `a ${kind} that holds a *`,
  )

interface BunnyRequest {
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
}

function requestOf(pullZone: number, { kind, value }: Value): BunnyRequest {
  const accept = { accept: "application/json" }
  if (kind === "url" || kind === "prefix") {
    // Waited for, as a purge that fails later would tell nobody. A URL that ends in a slash would mean all below it.
    const params = {
      url: kind === "url" ? value : wildcard(value),
      async: "false",
      exactPath: `${kind === "url"}`,
    }
    return { path: `/purge?${new URLSearchParams(params).toString()}`, headers: accept }
  }
  const path = `/pullzone/${pullZone}/purgeCache`
  if (kind === "everything") return { path, headers: accept }
  // A call whose tag is not read purges the whole zone, so that its type must never be missing.
  const headers = { ...accept, "content-type": "application/json" }
  return { path, headers, body: JSON.stringify({ CacheTag: value }) }
}

/** Without its last slash, to cover the page at `…/blog` too; wider than whole segments by what only begins so. */
const wildcard = (prefix: string): string => {
  const { pathname } = new URL(prefix)
  return `${pathname === "/" ? prefix : prefix.replace(/\/$/, "")}*`
}

const MEND = { keys: ["token"], place: ["pullZone"] }

/**
 * `ErrorKey`, `Field` and `Message`, of which one key is published, `pullZone.not_found`
 * (https://docs.bunny.net/api-reference/core/errors). The id of another kind of zone was seen to be a 401
 * (https://github.com/ayeressian/bunnycdn-storage-deploy/issues/65).
 */
const KEYS = /user|account|auth|access|billing|balance/i
const PLACE = /zone/i
/** The same in words. No value has a space in it. */
const KEYS_WORDS = /\b(?:account|user) (?:is|has|was)\b/i
const PLACE_WORDS = /\bpull ?zone (?:is|has|was|not)\b/i

function judge(who: string, answer: Answer, now: Milliseconds, token: string): Outcome {
  const { status } = answer
  const body = parseJson(answer.text)
  const [key, field, message] = [textOf(body, "ErrorKey"), textOf(body, "Field"), textOf(body, "Message")]
  const aboutOf = (): Reading["about"] => {
    if (status !== 400) return undefined
    if (KEYS.test(key + field) || KEYS_WORDS.test(message)) return "keys"
    return PLACE.test(key + field) || PLACE_WORDS.test(message) ? "place" : undefined
  }
  return verdict(who, answer, now, {
    mend: MEND,
    said: tidy(message || key, [token]),
    isOwn: message !== "" || key !== "",
    // A purge that was taken is documented without a body, and not by which of these.
    isTaken: (status === 200 || status === 204) && !isPage(answer),
    about: aboutOf(),
  })
}
