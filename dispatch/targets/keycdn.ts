import { toBase64, utf8 } from "../../protocol/bytes.ts"
import { keycdn as keycdnTags } from "../../protocol/tag-rules.ts"
import { MINUTE, type Milliseconds, SECOND } from "../../protocol/time.ts"
import {
  type Answer,
  ask,
  baseAddress,
  beyond,
  parseJson,
  type Reading,
  textOf,
  tidy,
  verdict,
  withWildcard,
} from "./answer.ts"
import { driverOf } from "./driver.ts"
import type {
  Batch,
  Capabilities,
  Kind,
  Outcome,
  TargetConfigOf,
  TargetDriver,
  TargetTraits,
} from "./target.ts"

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
 * Ours, after a limit of 2017: 128 characters for the list of tags, its brackets and quotes included. Since then none is
 * published, nor purging by tags as such.
 *
 * @see https://www.drupal.org/node/2878035
 */
const MAX_TAGS_BYTES = 128
/** What is left of them for tags with quotes and a comma each: two brackets, and no comma after the last. */
const TAGS_BYTES = MAX_TAGS_BYTES - "[]".length + ",".length
/** No more than that of tags of one letter. */
const MAX_TAGS = Math.floor(TAGS_BYTES / (1 + VALUE_OVERHEAD))

type KeycdnConfig = TargetConfigOf<"keycdn">

const capabilitiesOf = ({ tags = false }: Pick<Partial<KeycdnConfig>, "tags">): Capabilities => ({
  kinds: {
    ...(tags && { tag: { modes: ["purge"], batch: MAX_TAGS, maxBytes: TAGS_BYTES } }),
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
export const keycdnTraits: TargetTraits<KeycdnConfig> = {
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
}

/** How it is asked. */
export const keycdn: TargetDriver<KeycdnConfig> = /* @__PURE__ */ driverOf(
  keycdnTraits,
  (config, surroundings) => {
    const { endpoint, token } = config
    const { base, host } = baseAddress("endpoint", endpoint ?? BASE_URL)
    if (!/^[\x21-\x39\x3b-\x7e]+$/.test(token))
      throw new TypeError("token is empty, or holds what no user name may")
    const capabilities = capabilitiesOf(config)
    const credentials = toBase64(utf8(`${token}:`))
    return {
      async purge(batch, signal) {
        const unsupported = beyond(capabilities, batch) ?? withWildcard(batch)
        if (unsupported) return unsupported
        const { method, path, headers, body } = requestOf(config, batch)
        const authorization = `Basic ${credentials}`
        const init = { method, headers: { ...headers, authorization }, ...(body && { body }) }
        const answer = await ask(surroundings, host, base + path, init, signal)
        return "outcome" in answer
          ? answer
          : judge(host, answer, batch.values.length, surroundings.now(), [token, credentials])
      },
    }
  },
)

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

const MEND = { keys: ["token"], place: ["zone", "tags"] }

/**
 * Which words stand for what is not documented either, only that they may come with a 200. Whatever speaks of the key or
 * the account, or of a zone that is not there or not active, would fault every batch. Words apart: no value that an
 * answer quotes has a space in it.
 */
const KEYS =
  /\b(?:api|secret) key\b|^unauthori[sz]ed\b|\bauthentication (?:failed|error|required)\b|\bnot (?:authenticated|authori[sz]ed|permitted|allowed)\b|\b(?:permission denied|no permission|out of credits?|credit balance)\b|\b(?:account|user) (?:is|has|was|not)\b/i
const PLACE =
  /\b(?:invalid|unknown|no such|inactive) zone\b|\bzone (?:id )?(?:is|was|has|not|does|could|cannot)\b/i

function judge(
  who: string,
  answer: Answer,
  count: number,
  now: Milliseconds,
  secrets: readonly string[],
): Outcome {
  const body = parseJson(answer.text)
  const word = textOf(body, "status")
  const said = tidy(textOf(body, "description"), secrets)
  const aboutOf = (): Reading["about"] => {
    if (RATE_LIMITED.test(said)) return "vendor"
    if (KEYS.test(said)) return "keys"
    return PLACE.test(said) ? "place" : undefined
  }
  const isFailed = word !== "" && word !== "success"
  const isTaken = word === "success"
  return verdict(who, answer, now, {
    mend: MEND,
    said,
    isOwn: isFailed,
    isTaken,
    isFailed,
    about: aboutOf(),
    count,
  })
}
