import { systemClock } from "../clock.ts"
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
  retryAfter,
  textOf,
  tidy,
  verdict,
  pathOf,
  withWildcard,
} from "./answer.ts"
import { accessTokens } from "./oauth.ts"
import { driverOf } from "./driver.ts"
import type {
  Batch,
  Capabilities,
  Left,
  Outcome,
  Pace,
  Surroundings,
  TargetConfigOf,
  TargetDriver,
  TargetTraits,
  VendorHeaders,
} from "./target.ts"

/** @see https://learn.microsoft.com/rest/api/frontdoorservice/azurefrontdoorstandardpremium/afd-endpoints/purge-content */
const BASE_URL = "https://management.azure.com"
const VERSION = "2023-05-01"

/** @see https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow */
const AUTHORITY = "https://login.microsoftonline.com"
const SCOPE = "https://management.azure.com/.default"

/**
 * Paths of a call. A prefix takes two of them.
 *
 * @see https://learn.microsoft.com/azure/azure-resource-manager/management/azure-subscription-service-limits
 */
const MAX_PATHS = 100

/** Ours: how many domains a call may have is not published. */
const MAX_DOMAINS = 10

/**
 * Ours, as the limit of the resource provider is not published: a tenth of what Azure Resource Manager, which stands
 * before it, lets a principal write in a subscription.
 *
 * @see https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling
 */
const CALLS: Pace = {
  limit: "rate",
  bucket: "calls",
  kinds: ["url", "prefix", "host", "everything"],
  per: "call",
  perSecond: 1,
  burst: 20,
}

const CAPABILITIES: Capabilities = {
  kinds: {
    url: { modes: ["purge"], batch: MAX_PATHS },
    prefix: { modes: ["purge"], batch: MAX_PATHS / 2 },
    host: { modes: ["purge"], batch: MAX_DOMAINS },
    everything: { modes: ["purge"], batch: 1 },
  },
  mixed: false,
  oneHost: true,
  // It knows none; nothing is ever said by them.
  tags: PORTABLE_CODEC,
  // https://learn.microsoft.com/azure/frontdoor/cache-purge
  propagation: 10 * MINUTE,
}

/**
 * Azure Front Door, Standard and Premium: one endpoint of a profile, always hard. `endpoint` stands in for
 * `https://management.azure.com`, `authority` for `https://login.microsoftonline.com`.
 */
export const azureFrontDoorTraits: TargetTraits<TargetConfigOf<"azure-front-door">> = {
  type: "azure-front-door",
  capabilities: () => CAPABILITIES,
  pace: () => [CALLS],
}

/** How it is asked. */
export const azureFrontDoor: TargetDriver<TargetConfigOf<"azure-front-door">> = /* @__PURE__ */ driverOf(
  azureFrontDoorTraits,
  (config, surroundings) => {
    const { subscription, resourceGroup, profile, endpointName, directory, clientId, clientSecret } = config
    const { base, host } = baseAddress("endpoint", config.endpoint ?? BASE_URL)
    const authority = baseAddress("authority", config.authority ?? AUTHORITY)
    if (clientSecret === "") throw new TypeError("clientSecret is empty")
    const url = `${base}/subscriptions/${subscription}/resourceGroups/${encodeURIComponent(resourceGroup)}/providers/Microsoft.Cdn/profiles/${profile}/afdEndpoints/${endpointName}/purge?api-version=${VERSION}`
    const tokens = accessTokens(surroundings, {
      url: `${authority.base}/${directory}/oauth2/v2.0/token`,
      secrets: [clientSecret],
      mend: MEND.keys,
      form: () => ({
        grant_type: "client_credentials",
        client_id: clientId,
        client_secret: clientSecret,
        scope: SCOPE,
      }),
    })
    return {
      async purge(batch, signal) {
        const unsupported = beyond(CAPABILITIES, batch) ?? withWildcard(batch, pathOf)
        if (unsupported) return unsupported
        const began = surroundings.now()
        const granted = await tokens.get(signal)
        if ("outcome" in granted) return granted
        const { token } = granted
        const authorization = `Bearer ${token}`
        const headers = { authorization, "content-type": "application/json" }
        const body = JSON.stringify(bodyOf(batch))
        const answer = await ask(surroundings, host, url, { method: "POST", headers, body }, signal)
        if ("outcome" in answer) return answer
        if (answer.status === 401) tokens.forget(token)
        const secrets = [token, clientSecret]
        const outcome = judge(host, answer, batch.values.length, surroundings.now(), secrets)
        if (answer.status !== 202 || outcome.outcome !== "accepted") return outcome
        const until = began + config.timeout * PART_FOR_LOOKING
        const look = { base, who: host, count: batch.values.length, authorization, secrets, until }
        return (await follow(surroundings, answer, look, signal)) ?? outcome
      },
    }
  },
)

interface PurgeBody {
  readonly contentPaths: readonly string[]
  readonly domains?: readonly string[]
}

/** Paths of some domains; without domains, of all that the endpoint has. Domains are names, without a port. */
function bodyOf({ values }: Batch): PurgeBody {
  const paths = new Set<string>()
  const domains = new Set<string>()
  for (const { kind, value } of values) {
    if (kind === "url" || kind === "prefix") {
      const { hostname, pathname } = new URL(value)
      domains.add(hostname)
      const page = pathname.replace(/(.)\/$/, "$1")
      // `/blog/*` does not name the page at `/blog`.
      if (kind === "url") paths.add(pathname)
      else if (page === "/") paths.add("/*")
      else paths.add(page).add(`${page}/*`)
    } else {
      paths.add("/*")
      if (kind === "host") domains.add(value.replace(/:\d+$/, ""))
    }
  }
  return { contentPaths: [...paths], ...(domains.size > 0 ? { domains: [...domains] } : {}) }
}

/** Codes of what passes by itself, also with a status of 400 or 409: too much, or too much at once. */
const PASSING = /throttl|too_?many|quota|conflict|in_?progress|retry|timeout|unavailable|internal|busy/i

const MEND = {
  keys: ["directory", "clientId", "clientSecret"],
  place: ["subscription", "resourceGroup", "profile", "endpointName"],
}

/**
 * Codes about who asks, and about what is asked for: a subscription that is off, a provider that is not registered, a
 * policy or a lock, a name that is none. They come by 400, 403, 404 and 409.
 *
 * @see https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors
 */
const KEYS = /auth|token|credential|forbidden|denied/i
const PLACE =
  /subscription|tenant|resource|group|scope|provider|api_?version|polic|locked|disabled|not_?found|profile|endpoint|account|billing|sku|feature|not_?(?:allowed|permitted|entitled|registered)/i

const REMAINING = "x-ms-ratelimit-remaining-subscription-writes"

function judge(
  who: string,
  answer: Answer,
  count: number,
  now: Milliseconds,
  secrets: readonly string[],
): Outcome {
  const { status, headers, text } = answer
  const { code, said } = errorOf(parseJson(text))
  const aboutOf = (): Reading["about"] => {
    // Who may do what by a 403 is a matter of either.
    if (PASSING.test(code)) return "vendor"
    if (status === 401 || status === 403) return undefined
    if (KEYS.test(code)) return "keys"
    return PLACE.test(code) ? "place" : undefined
  }
  const outcome = verdict(who, answer, now, {
    mend: MEND,
    said: tidy(said, secrets),
    isOwn: code !== "",
    isTaken: (status === 200 || status === 202) && !isPage(answer),
    about: aboutOf(),
    count,
  })
  const remaining = headers.get(REMAINING) ?? ""
  const left: { left?: readonly Left[] } = /^\d{1,9}$/.test(remaining)
    ? { left: [{ bucket: CALLS.bucket, tokens: Number(remaining) }] }
    : {}
  if (outcome.outcome === "accepted") return { ...outcome, ...vendorId(headers), ...left }
  return outcome.outcome === "trouble" ? { ...outcome, ...left } : outcome
}

/** @see https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors */
function errorOf(body: unknown): { readonly code: string; readonly said: string } {
  const error = member(body, "error")
  const code = textOf(error, "code")
  return { code, said: `${code} ${textOf(error, "message")}` }
}

/** What Azure's own people look a request up by. */
function vendorId(headers: VendorHeaders): { vendorId?: string } {
  const id = tidy(headers.get("x-ms-request-id") ?? "")
  return id === "" ? {} : { vendorId: id }
}

/** Ours: a purge takes minutes to be everywhere, and no call waits for so long. */
const MAX_LOOKS = 4
/** Ours, where Azure does not say when to look. */
const LOOK_AFTER: Milliseconds = SECOND
/** Ours: how much of an attempt's time may pass before what Azure took is let be. */
const PART_FOR_LOOKING = 0.8

interface Look {
  /** Where alone the token may go. */
  readonly base: string
  readonly who: string
  /** How many values the purge carried. */
  readonly count: number
  readonly authorization: string
  readonly secrets: readonly string[]
  /** When looking ends. */
  readonly until: Milliseconds
}

/**
 * Looks what became of a purge that Azure took, as long as the attempt's time allows. Undefined where it is done, still
 * under way, or cannot be looked at: Azure took it, and only what it says has failed has failed.
 *
 * @see https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
 */
async function follow(
  surroundings: Surroundings,
  taken: Answer,
  { base, who, count, authorization, secrets, until }: Look,
  signal: AbortSignal,
): Promise<Outcome | undefined> {
  const { now } = surroundings
  let { headers } = taken
  let place = placeIn(headers)
  for (let look = 0; look < MAX_LOOKS; look += 1) {
    if (place === undefined || !URL.canParse(place) || new URL(place).origin !== new URL(base).origin)
      return undefined
    const wait = retryAfter(headers, now()) ?? LOOK_AFTER
    if (now() + wait > until) return undefined
    await systemClock.sleep(wait, signal)
    const answer = await ask(surroundings, who, place, { method: "GET", headers: { authorization } }, signal)
    if ("outcome" in answer) return undefined
    const body = parseJson(answer.text)
    const state = member(body, "status")
    const outcome = judge(who, answer, count, now(), secrets)
    if (outcome.outcome !== "accepted") return isAboutLooking(answer.status) ? undefined : outcome
    if (state === "Failed" || state === "Canceled") {
      const { code, said } = errorOf(body)
      const detail = `${who} took it, and then: ${state} ${tidy(said, secrets)}`
      const isPassing = state === "Canceled" || PASSING.test(code)
      return { outcome: isPassing ? "trouble" : "refused", status: answer.status, detail }
    }
    const isUnderWay = answer.status === 202 || (typeof state === "string" && state !== "Succeeded")
    if (!isUnderWay) return undefined
    headers = answer.headers
    place = placeIn(headers) ?? place
  }
  return undefined
}

const placeIn = (headers: VendorHeaders): string | undefined =>
  headers.get("azure-asyncoperation") ?? headers.get("location") ?? undefined

/** That one may not look, or not so often, says nothing of the purge. */
const isAboutLooking = (status: number): boolean =>
  status < 400 || status === 401 || status === 403 || status === 404 || status === 408 || status === 429
