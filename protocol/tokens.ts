import { constantTimeEqual, sha256, toBase64Url, toHex, utf8 } from "./bytes.ts"
import type { Resolved } from "./config/config.ts"
import type { Config } from "./config/schema.ts"
import { Problem } from "./errors.ts"
import { matchesAny, type Namespace } from "./namespace.ts"
import type { Milliseconds } from "./time.ts"

/** Whoever a token stands for. The tenant is the token's: no request can name one. */
export interface Principal {
  readonly name: string
  readonly tenant: string
  readonly scopes: readonly string[]
}

/** Scopes that carry a pattern. None implies another. */
export type PatternScope = "publish" | "read" | "epochs" | "events"
/** `drain` and `fleet` are about the relays of all tenants, and no tenant's own. */
export type PlainScope = "everything" | "metrics" | "operate" | "drain" | "fleet"

type TokenList = Resolved<Config>["tokens"]

const BEARER = /^Bearer ([\x21-\x7e]{1,512})$/i

/** A new token: `tm_` and 32 random bytes, base64url. */
export const newToken = (): string => `tm_${toBase64Url(crypto.getRandomValues(new Uint8Array(32)))}`

/** What the configuration holds of a token: its SHA-256, in hex. */
export const hashToken = async (token: string): Promise<string> => toHex(await sha256(utf8(token)))

const unauthorized = (detail: string) =>
  new Problem("unauthorized", detail, { headers: { "www-authenticate": "Bearer" } })

/**
 * The tokens that were taken, as they came: a digest is a tenth of a publish. Found by its own hash, a token is told
 * apart from others in no time that would say how; and there are no more of them than are configured.
 */
const taken = new WeakMap<TokenList, Map<string, TokenList[number]>>()

/**
 * Whose token a request carries.
 *
 * @param authorization the `Authorization` header
 * @throws {Problem} `unauthorized`, without telling which part of it was wrong
 */
export async function authenticate(
  tokens: TokenList,
  authorization: string | null | undefined,
  now: Milliseconds,
): Promise<Principal> {
  const presented = BEARER.exec(authorization ?? "")?.[1]
  if (presented === undefined) throw unauthorized("Send Authorization: Bearer and a token.")
  const known = taken.get(tokens) ?? new Map<string, TokenList[number]>()
  let found = known.get(presented)
  if (!found) {
    const hash = await hashToken(presented)
    // All are compared, whichever matches: the time taken tells nothing of the list.
    for (const token of tokens) {
      for (const one of [token.sha256].flat()) if (constantTimeEqual(hash, one.toLowerCase())) found = token
    }
    if (found) taken.set(tokens, known.set(presented, found))
  }
  if (!found || (found.expires !== undefined && now >= Date.parse(found.expires))) {
    throw unauthorized("The token is not known, or no longer valid.")
  }
  return { name: found.name, tenant: found.tenant, scopes: found.scopes }
}

/** The patterns that a principal's scopes of one kind name. */
export const scopePatterns = (principal: Principal, scope: PatternScope): string[] =>
  principal.scopes.filter((held) => held.startsWith(`${scope}:`)).map((held) => held.slice(scope.length + 1))

export const mayTouch = (principal: Principal, scope: PatternScope, namespace: Namespace): boolean =>
  matchesAny(namespace, scopePatterns(principal, scope))

/** @throws {Problem} `insufficient_scope`, which does not tell whether the namespace exists */
export function requireScope(principal: Principal, scope: PatternScope, namespace: Namespace): void {
  if (!mayTouch(principal, scope, namespace)) {
    throw new Problem("insufficient_scope", `The token's scopes hold no ${scope}: for this namespace.`)
  }
}

/** @throws {Problem} `insufficient_scope` */
export function requirePlain(principal: Principal, scope: PlainScope): void {
  if (!principal.scopes.includes(scope)) {
    throw new Problem("insufficient_scope", `The token's scopes do not hold ${scope}.`)
  }
}

/** Whether entries of no single namespace (`everything`, `resync`) may be seen. */
export const readsAll = (principal: Principal): boolean => scopePatterns(principal, "read").includes("*")
