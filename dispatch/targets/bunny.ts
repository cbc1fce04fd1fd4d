import { bunny as bunnyTags } from "../../protocol/tag-rules.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import { type Answer, ask, baseAddress, beyond, byStatus, member, tidy } from "./answer.ts"
import type { Capabilities, KindCapability, Outcome, TargetConfigOf, TargetDriver, Value } from "./target.ts"

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
export const bunny: TargetDriver<TargetConfigOf<"bunny">> = {
  type: "bunny",
  capabilities: () => CAPABILITIES,
  pace: () => [
    { limit: "rate", bucket: "exact", kinds: ["url"], per: "call", ...EXACT },
    // Which of the two a purge by tag or of a zone takes is not published: the slower one, to be sure.
    { limit: "rate", bucket: "prefix", kinds: ["prefix", "tag", "everything"], per: "call", ...PREFIX },
  ],
  create({ endpoint, pullZone, token }, surroundings) {
    const { base, host } = baseAddress("endpoint", endpoint ?? BASE_URL)
    if (!/^[\x21-\x7e]+$/.test(token)) throw new TypeError("token is empty, or holds what no header may")
    return {
      async purge(batch, signal) {
        const [value] = batch.values
        const unsupported = beyond(CAPABILITIES, batch) ?? pattern(value)
        if (unsupported || !value)
          return unsupported ?? { outcome: "unsupported", detail: "nothing to purge" }
        const { path, headers, body } = requestOf(pullZone, value)
        const init = { method: "POST", headers: { ...headers, accesskey: token }, ...(body && { body }) }
        const answer = await ask(surroundings, host, base + path, init, signal)
        return "outcome" in answer ? answer : judge(host, answer, value, surroundings.now(), token)
      },
    }
  },
}

/** A `*` in a URL stands for anything there, and there is no other way to say one. */
const pattern = (value: Value | undefined): Outcome | undefined =>
  (value?.kind === "url" || value?.kind === "prefix") && value.value.includes("*")
    ? { outcome: "unsupported", detail: `it cannot purge by a ${value.kind} that holds a *` }
    : undefined

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

function judge(who: string, answer: Answer, { kind }: Value, now: Milliseconds, token: string): Outcome {
  const outcome = byStatus(who, answer, now, tidy(messageOf(answer.text), [token]))
  // About the zone, not about what was to be purged: every item would share it.
  const isZone = kind === "tag" || kind === "everything"
  return outcome.outcome === "refused" && outcome.status === 404 && isZone
    ? { outcome: "unauthorised", status: 404, detail: `${outcome.detail} (no such pull zone?)` }
    : outcome
}

/** Its own words, where it has any. A purge that was taken has none. */
function messageOf(text: string): string {
  try {
    const message = member(JSON.parse(text), "Message")
    return typeof message === "string" ? message : ""
  } catch {
    return ""
  }
}
