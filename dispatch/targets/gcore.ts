import { PORTABLE_CODEC } from "../../protocol/tag-rules.ts"
import { type Milliseconds, MINUTE, SECOND } from "../../protocol/time.ts"
import {
  type Answer,
  ask,
  baseAddress,
  beyond,
  isPage,
  member,
  parseJson,
  type Reading,
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
  RateLimit,
  TargetConfigOf,
  TargetDriver,
  TargetTraits,
} from "./target.ts"

/** @see https://gcore.com/docs/api-reference/cdn/tools/purge-cache */
const BASE_URL = "https://api.gcore.com"

/** Of one call. @see https://gcore.com/docs/api-reference/cdn/tools/purge-cache */
const MAX_URLS = 100
const MAX_PATTERNS = 10

/** Of one resource, each kind by itself. @see https://gcore.com/docs/api-reference/cdn/tools/purge-cache */
const URL_CALLS_PER_MINUTE = 2
const PATTERN_CALLS_PER_MINUTE = 1
const ALL_CALLS_PER_MINUTE = 1

const CAPABILITIES: Capabilities = {
  kinds: {
    url: { modes: ["purge"], batch: MAX_URLS },
    prefix: { modes: ["purge"], batch: MAX_PATTERNS },
    everything: { modes: ["purge"], batch: 1 },
  },
  mixed: false,
  tags: PORTABLE_CODEC,
}

/**
 * Gcore's purge of one CDN resource, by path, by pattern, or all of it. `endpoint` stands in for
 * `https://api.gcore.com`.
 */
export const gcoreTraits: TargetTraits<TargetConfigOf<"gcore">> = {
  type: "gcore",
  capabilities: () => CAPABILITIES,
  pace: ({ resource }) => [
    spread(`url:${resource}`, "url", URL_CALLS_PER_MINUTE),
    spread(`pattern:${resource}`, "prefix", PATTERN_CALLS_PER_MINUTE),
    spread(`all:${resource}`, "everything", ALL_CALLS_PER_MINUTE),
  ],
}

/** How it is asked. */
export const gcore: TargetDriver<TargetConfigOf<"gcore">> = /* @__PURE__ */ driverOf(
  gcoreTraits,
  ({ endpoint, resource, token }, surroundings) => {
    const { base, host } = baseAddress("endpoint", endpoint ?? BASE_URL)
    if (!/^[\x21-\x7e]+$/.test(token)) throw new TypeError("token is empty, or holds what no header may")
    const headers = { authorization: `apikey ${token}`, "content-type": "application/json" }
    const url = `${base}/cdn/resources/${resource}/purge`
    return {
      async purge(batch, signal) {
        const unsupported = beyond(CAPABILITIES, batch) ?? withWildcard(batch)
        if (unsupported) return unsupported
        const body = JSON.stringify(bodyOf(batch))
        const answer = await ask(surroundings, host, url, { method: "POST", headers, body }, signal)
        return "outcome" in answer
          ? answer
          : judge(host, answer, batch.values.length, surroundings.now(), token)
      },
    }
  },
)

/** One at a time and evenly: how Gcore counts its minute is not published, and so none has more, wherever it begins. */
const spread = (bucket: string, kind: Kind, perMinute: number): RateLimit => ({
  limit: "rate",
  bucket,
  kinds: [kind],
  per: "call",
  perSecond: (perMinute * SECOND) / MINUTE,
  burst: 1,
})

type Body = { readonly urls: readonly string[] } | { readonly paths: readonly string[] }

function bodyOf({ values }: Batch): Body {
  const of = (kind: Kind) => values.filter((each) => each.kind === kind).map(({ value }) => new URL(value))
  // An empty list is how all of a resource is named, and so must come from nothing else.
  // https://gcore.com/docs/cdn/clear-cdn-resource-cache-by-url-pattern-or-all
  if (values.some(({ kind }) => kind === "everything")) return { paths: [] }
  const prefixes = of("prefix")
  if (prefixes.length > 0) return { paths: [...new Set(prefixes.map(pattern))] }
  return { urls: [...new Set(of("url").map(({ pathname, search }) => pathname + search))] }
}

/**
 * A prefix without its last slash, as it covers the page at `…/blog` too. Whether Gcore keeps to whole path segments is
 * not published.
 */
const pattern = ({ pathname }: URL): string => `${pathname.replace(/(.)\/$/, "$1")}*`

/**
 * Said by a 400 as well as by a 429. Taken for a refusal it would be cut into ever more calls.
 *
 * @see https://gcore.com/docs/cdn/clear-cdn-resource-cache-by-url-pattern-or-all
 */
const OVER_QUOTA = /\bquota\b|\btoo many requests\b|\brate limit/i

const MEND = { keys: ["token"], place: ["resource"] }

/**
 * Gcore publishes no errors but `{"errors": {"paths": ["This field is required."]}}`
 * (https://gcore.com/docs/api-reference/cdn/tools/purge-cache). Its other answers are those of the framework that it is
 * made with: `detail` with "Not found.", "Invalid token", "You do not have permission …". What would be about the
 * account or the resource is told by these words, whatever the status.
 */
const KEYS = /\b(?:token|credentials|authentication|permission)\b/i
const PLACE =
  /\b(?:resource|account|client|service|feature|option|plan)\b.*\b(?:not|suspended|disabled|inactive|deleted|paused|blocked)\b/i

function judge(who: string, answer: Answer, count: number, now: Milliseconds, token: string): Outcome {
  const said = tidy(wordsOf(answer.text), [token])
  const aboutOf = (): Reading["about"] => {
    if (OVER_QUOTA.test(said)) return "vendor"
    // What it says of `urls` and `paths` is of values, and may quote them.
    if (answer.status === 403 || /^(?:urls|paths): /.test(said)) return undefined
    if (KEYS.test(said)) return "keys"
    return PLACE.test(said) ? "place" : undefined
  }
  return verdict(who, answer, now, {
    mend: MEND,
    said,
    isOwn: said !== "",
    isTaken: answer.status === 201 && !isPage(answer),
    about: aboutOf(),
    count,
  })
}

/** `{"errors": {"paths": ["This field is required."]}}`, or a sentence by itself. */
function wordsOf(text: string): string {
  const body = parseJson(text)
  const errors = member(body, "errors")
  const listed = errors !== null && typeof errors === "object" ? Object.entries(errors) : []
  const named = listed.flatMap(([name, words]) => {
    const said = [words].flat().filter(isString).join(" ")
    return said === "" ? [] : [`${name}: ${said}`]
  })
  return [...named, errors, member(body, "message"), member(body, "detail")].filter(isString).join("; ")
}

const isString = (value: unknown): value is string => typeof value === "string"
