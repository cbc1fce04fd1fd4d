import { MINUTE, type Milliseconds, SECOND } from "../../protocol/time.ts"
import { type Answer, ask, member, parseJson, textOf, tidy, type Trouble, verdict } from "./answer.ts"
import type { Outcome, Surroundings } from "./target.ts"

/** Access tokens that are asked for with a form, and kept by the driver until shortly before they end. */

/** Ours: a token that ends while a call is under way would be a 401 for nothing. */
const MARGIN: Milliseconds = MINUTE

/** Why there is no token: never about the batch. */
export type NoToken = Extract<Outcome, { outcome: "trouble" | "unauthorised" }>

export interface TokenEndpoint {
  readonly url: string
  /** What is posted; asked for anew for each exchange. */
  readonly form: () => Promise<Readonly<Record<string, string>>> | Readonly<Record<string, string>>
  /** What must show up in no detail. */
  readonly secrets: readonly string[]
  /** The options that may have to be mended where there is no token. */
  readonly mend: readonly string[]
}

export interface AccessTokens {
  /** A token that holds, or why there is none. Calls at the same time share one exchange. Never rejects. */
  get(signal: AbortSignal): Promise<{ readonly token: string } | NoToken>
  /** A token that was not taken is not shown again. */
  forget(token: string): void
}

export function accessTokens(surroundings: Surroundings, endpoint: TokenEndpoint): AccessTokens {
  const { now } = surroundings
  let kept: { readonly token: string; readonly until: Milliseconds } | undefined
  let flight: Promise<{ readonly token: string } | NoToken> | undefined

  async function exchange(signal: AbortSignal): Promise<{ readonly token: string } | NoToken> {
    const answer = await request(surroundings, endpoint, signal)
    if ("outcome" in answer) return answer
    const granted = grantOf(answer, now(), endpoint)
    if ("outcome" in granted) return granted
    kept = { token: granted.token, until: now() + granted.lasts - MARGIN }
    return { token: granted.token }
  }

  return {
    async get(signal) {
      if (kept && now() < kept.until) return { token: kept.token }
      flight ??= exchange(signal).finally(() => {
        flight = undefined
      })
      return Promise.race([flight, aborted(signal)])
    },
    forget(token) {
      if (kept?.token === token) kept = undefined
    },
  }
}

/** Whoever shares the exchange of another still ends with its own signal. */
const aborted = (signal: AbortSignal): Promise<Trouble> =>
  new Promise((resolve) => {
    const end = () =>
      resolve({ outcome: "trouble", detail: "no access token before the attempt was aborted" })
    if (signal.aborted) end()
    else signal.addEventListener("abort", end, { once: true })
  })

async function request(
  surroundings: Surroundings,
  { url, form }: TokenEndpoint,
  signal: AbortSignal,
): Promise<Answer | Trouble> {
  const { host } = new URL(url)
  let body: string
  try {
    body = new URLSearchParams(await form()).toString()
  } catch {
    // Not its message: it may hold the key.
    return { outcome: "trouble", detail: `${host} could not be asked: the key is not one to sign with` }
  }
  const headers = { "content-type": "application/x-www-form-urlencoded" }
  return ask(surroundings, host, url, { method: "POST", headers, body }, signal)
}

/** Of OAuth's errors those that are not about who asks. @see https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2.1 */
const PASSING = new Set(["temporarily_unavailable", "server_error"])

/**
 * Whatever it finds fault with is a matter of the credentials or of the configuration, also with a 400 or a 404.
 *
 * @see https://www.rfc-editor.org/rfc/rfc6749#section-5
 */
function grantOf(
  answer: Answer,
  now: Milliseconds,
  { url, secrets, mend }: TokenEndpoint,
): { readonly token: string; readonly lasts: Milliseconds } | NoToken {
  const { host } = new URL(url)
  const body = parseJson(answer.text)
  const [token, seconds] = [textOf(body, "access_token"), Number(member(body, "expires_in"))]
  const error = textOf(body, "error")
  const said = [error, textOf(body, "error_description")].filter((part) => part !== "").join(": ")
  const outcome = verdict(`${host}, asked for a token,`, answer, now, {
    mend: { keys: mend, place: [] },
    said: tidy(said, secrets),
    isOwn: false,
    isTaken: /^[\x21-\x7e]+$/.test(token),
    about: PASSING.has(error) ? "vendor" : error === "" ? undefined : "keys",
  })
  switch (outcome.outcome) {
    case "accepted":
      return { token, lasts: Number.isFinite(seconds) ? seconds * SECOND : 0 }
    case "trouble":
    case "unauthorised":
      return outcome
    case "refused":
    case "unsupported":
      return { outcome: "trouble", detail: outcome.detail }
  }
}
