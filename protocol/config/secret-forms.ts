import { parseJson } from "../receipt.ts"
import { parseWebhookSecret } from "../standard-webhooks.ts"
import { at, membersOf, resolveSecrets } from "./config.ts"
import type { Config, SourceConfig } from "./schema.ts"
import { isSecret } from "./secret.ts"
import { BEARER_SECRET, CONTENTFUL_SECRET, STANDARD_SECRET, TEXT_SECRET } from "./source-secret.ts"

/**
 * Secrets that are held and cannot be right. The command line and the relay say so before anything is asked with them.
 * What a vendor knows of its own secrets it alone can tell: these are forms that no vendor, no sender and no header has.
 */

/** One of them: where it is used, its name, and what is wrong with it. Never its value. */
export interface SecretFault {
  /** Such as `sources.contentful-main.secret`. */
  readonly path: string
  readonly name: string
  /** A sentence's end: `is not whsec_ and base64`. */
  readonly detail: string
}

/** Targets that sign what they send by Standard Webhooks. */
const SIGNING: readonly string[] = ["http", "nextjs", "workers-cache"]

/** Every secret of a configuration that is held and cannot be right. */
export function secretFaults(config: Config, environment: Readonly<Record<string, unknown>>): SecretFault[] {
  const { config: resolved } = resolveSecrets(config, environment)
  return [...usesOf(config, resolved, [])].flatMap(({ path, name, value }) => {
    const [part = "", owner = "", option = ""] = path.map(String)
    if (value === "") return []
    const detail = problemOf(config, part, owner, option, value)
    return detail === undefined ? [] : [{ path: at(path, "").path, name, detail }]
  })
}

interface Use {
  readonly path: readonly PropertyKey[]
  readonly name: string
  readonly value: string
}

/** Where the one names a secret, and the other holds it. */
function* usesOf(named: unknown, held: unknown, path: readonly PropertyKey[]): Generator<Use> {
  if (isSecret(named)) {
    if (typeof held === "string") yield { path, name: named.secret, value: held }
  } else if (Array.isArray(named)) {
    const values: readonly unknown[] = Array.isArray(held) ? held : []
    for (const [index, item] of named.entries()) yield* usesOf(item, values[index], [...path, index])
  } else {
    const values = membersOf(held)
    for (const [key, member] of Object.entries(membersOf(named)))
      yield* usesOf(member, values[key], [...path, key])
  }
}

function problemOf(
  config: Config,
  part: string,
  owner: string,
  option: string,
  value: string,
): string | undefined {
  if (part === "tokens") return hashProblem(value)
  if (part === "sources") {
    const source = config.sources[owner]
    return source && sourceSecretProblem(source, value)
  }
  if (part === "targets") return targetSecretProblem(config.targets[owner]?.type ?? "", option, value)
  return undefined
}

function hashProblem(value: string): string | undefined {
  if (/^[0-9a-f]{64}$/i.test(value)) return undefined
  if (value.trim() !== value) return "begins or ends with white space"
  return value.startsWith("tm_")
    ? "holds a token, where its SHA-256 is meant: keep the token to whoever publishes, and make another"
    : "is no SHA-256: 64 hex digits, as `tidemark token create` shows them"
}

/** Sources that are signed by Standard Webhooks and nothing else. */
const STANDARD: readonly string[] = ["payload", "standard-webhooks", "svix"]

function sourceSecretProblem({ type, auth = "" }: SourceConfig, value: string): string | undefined {
  // A key in PEM ends with a line end, and is read without it.
  const isPem = type === "contentstack" && value.includes("-----")
  if (!TEXT_SECRET.test(value) && !isPem) return "begins or ends with white space"
  if (type === "contentful" && !CONTENTFUL_SECRET.test(value))
    return "is not the 64 characters of Contentful's"
  // By the form of a secret WordPress is told which of two plugins signs.
  const isStandard = STANDARD.includes(type) || (type === "wordpress" && value.startsWith("whsec_"))
  if (isStandard && !STANDARD_SECRET.test(value)) return "is not whsec_ and base64"
  if (auth === "basic" && !value.includes(":")) return "is not user:password"
  if (auth === "bearer" && !BEARER_SECRET.test(value))
    return "is no bearer token: only printable ASCII without blanks"
  if (auth.startsWith("header:") && !/^[ -~]+$/.test(value)) return "holds what no header carries"
  return undefined
}

function targetSecretProblem(type: string, option: string, value: string): string | undefined {
  // The JSON of a service account's key, over many lines.
  if (type === "google-cloud-cdn") {
    const key = membersOf(parseJson(value))
    return typeof key["client_email"] === "string" && typeof key["private_key"] === "string"
      ? undefined
      : "is not the JSON of a service account's key"
  }
  if (value.trim() !== value) return "begins or ends with white space"
  if (SIGNING.includes(type) && option === "secret")
    return value.startsWith("whsec_") && parseWebhookSecret(value) ? undefined : "is not whsec_ and base64"
  // They stand in headers, but for a client secret of Azure, which may hold anything that a form can.
  const isPrintable = /^[!-~]+$/.test(value) || (type === "azure-front-door" && !/\p{Cc}/u.test(value))
  return isPrintable ? undefined : "holds what no such credential does: only printable ASCII without blanks"
}
