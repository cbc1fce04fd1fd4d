import { toBase64, utf8 } from "../../protocol/bytes.ts"
import { keycdn as keycdnTags } from "../../protocol/tag-rules.ts"
import { MINUTE, type Milliseconds, SECOND } from "../../protocol/time.ts"
import { type Answer, ask, baseAddress, beyond, byStatus, member, tidy, troubleOf } from "./answer.ts"
import type { Batch, Capabilities, Kind, Outcome, TargetConfigOf, TargetDriver } from "./target.ts"

/** @see https://www.keycdn.com/api */
const BASE_URL = "https://api.keycdn.com"

/** "64 KB", read as the smaller of the two. @see https://www.keycdn.com/api */
const MAX_BODY_BYTES = 64_000
const ENVELOPE_BYTES = '{"urls":[]}'.length
/** A value's quotes and comma. */
const VALUE_OVERHEAD = 3

/** Ours: how many is not published. One that is not taken refuses all, and there are few calls to find it by. */
const MAX_URLS = 100

/**
 * Ours, after a limit of 2017: 128 characters for the list of tags, quotes included, which is one of the longest. Since
 * then none is published, nor purging by tags as such.
 *
 * @see https://www.drupal.org/node/2878035
 */
const MAX_TAGS = 1

type KeycdnConfig = TargetConfigOf<"keycdn">

const capabilitiesOf = ({ tags = false }: Pick<Partial<KeycdnConfig>, "tags">): Capabilities => ({
  kinds: {
    ...(tags && { tag: { modes: ["purge"], batch: MAX_TAGS } }),
    url: { modes: ["purge"], batch: MAX_URLS },
    everything: { modes: ["purge"], batch: 1 },
  },
  mixed: false,
  maxBytes: MAX_BODY_BYTES - ENVELOPE_BYTES,
  valueOverhead: VALUE_OVERHEAD,
  tags: keycdnTags.codec,
  // "A few seconds": https://www.keycdn.com/support/purge-cdn-cache/
  propagation: 5 * SECOND,
})

/**
 * KeyCDN's purging of a zone as a whole, by URL and, where the configuration says so, by tag. `endpoint` stands in for
 * `https://api.keycdn.com`.
 */
export const keycdn: TargetDriver<KeycdnConfig> = {
  type: "keycdn",
  capabilities: capabilitiesOf,
  pace({ tags, perMinute }) {
    // 20 a minute in 2017, and more since 2019: https://www.keycdn.com/api. A quarter may come at once, and
    // the rest is spread, so that no minute sees more.
    const burst = Math.max(1, Math.floor(perMinute / 4))
    const perSecond = (Math.max(1, perMinute - burst) * SECOND) / MINUTE
    const kinds: readonly Kind[] = tags ? ["tag", "url", "everything"] : ["url", "everything"]
    return [{ limit: "rate", bucket: "api", kinds, per: "call", perSecond, burst }]
  },
  create(config, surroundings) {
    const { endpoint, token } = config
    const { base, host } = baseAddress("endpoint", endpoint ?? BASE_URL)
    if (!/^[\x21-\x39\x3b-\x7e]+$/.test(token))
      throw new TypeError("token is empty, or holds what no user name may")
    const capabilities = capabilitiesOf(config)
    const credentials = toBase64(utf8(`${token}:`))
    return {
      async purge(batch, signal) {
        const unsupported = beyond(capabilities, batch)
        if (unsupported) return unsupported
        const { method, path, headers, body } = requestOf(config, batch)
        const authorization = `Basic ${credentials}`
        const init = { method, headers: { ...headers, authorization }, ...(body && { body }) }
        const answer = await ask(surroundings, host, base + path, init, signal)
        return "outcome" in answer ? answer : judge(host, answer, surroundings.now(), [token, credentials])
      },
    }
  },
}

interface KeycdnRequest {
  readonly method: "GET" | "DELETE"
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
}

function requestOf({ zone, zoneHost }: KeycdnConfig, { values }: Batch): KeycdnRequest {
  const accept = { accept: "application/json" }
  const kind = values[0]?.kind
  if (kind === "everything") return { method: "GET", path: `/zones/purge/${zone}.json`, headers: accept }
  const headers = { ...accept, "content-type": "application/json" }
  if (kind === "tag") {
    const tags = [...new Set(values.map(({ value }) => value))]
    return { method: "DELETE", path: `/zones/purgetag/${zone}.json`, headers, body: JSON.stringify({ tags }) }
  }
  // Without a scheme, as documented. Every example names the zone's own host; whether aliases are known is not said.
  const address = (url: string): string => {
    const { host, pathname, search } = new URL(url)
    return `${zoneHost ?? host}${pathname}${search}`
  }
  const urls = [...new Set(values.map(({ value }) => address(value)))]
  return { method: "DELETE", path: `/zones/purgeurl/${zone}.json`, headers, body: JSON.stringify({ urls }) }
}

/**
 * How it says that there were too many calls is not documented, and "not all errors map cleanly onto HTTP response
 * codes". Taken for a refusal it would be cut into ever more calls.
 */
const RATE_LIMITED = /\brate limit|\btoo many requests\b/i

function judge(who: string, answer: Answer, now: Milliseconds, secrets: readonly string[]): Outcome {
  const { status } = answer
  const { word, description } = parse(answer.text)
  const said = tidy(description, secrets)
  const outcome = byStatus(who, answer, now, said)
  if (outcome.outcome === "accepted") {
    if (word === "success") return outcome
    if (word === "")
      return troubleOf(answer, now, `${who} answered ${status} with a body that cannot be read`)
    const detail = `${who} answered ${status} without success: ${said}`
    return RATE_LIMITED.test(said) ? troubleOf(answer, now, detail) : { outcome: "refused", status, detail }
  }
  if (outcome.outcome === "trouble" || outcome.outcome === "unsupported") return outcome
  if (RATE_LIMITED.test(said)) return troubleOf(answer, now, outcome.detail)
  if (outcome.outcome === "unauthorised") return outcome
  // About the zone, or the address by which tags are purged: every item would share it.
  return status === 404
    ? { outcome: "unauthorised", status, detail: `${outcome.detail} (no such zone?)` }
    : outcome
}

/** Its word, `success` or another, and what it says of it; empty where the body is none of its own. */
function parse(text: string): { readonly word: string; readonly description: string } {
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    body = undefined
  }
  const [word, description] = [member(body, "status"), member(body, "description")]
  return {
    word: typeof word === "string" ? word : "",
    description: typeof description === "string" ? description : "",
  }
}
