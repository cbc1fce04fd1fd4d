import { fromBase64 } from "../bytes.ts"
import { parseWebhookSecret } from "../standard-webhooks.ts"
import type { SourceType } from "./source-options.ts"

/** What begins the key of somebody who signs by Ed25519, and how long it is. */
const PUBLIC_KEY = "whpk_"
const PUBLIC_KEY_BYTES = 32

/** Sources that are signed by Standard Webhooks and nothing else; of others a secret may be any text. */
const STANDARD: readonly SourceType[] = ["payload", "standard-webhooks", "svix"]

/**
 * Why no delivery can ever be verified by a secret, whatever its sender knows; undefined where one can. It never holds
 * the value. The Worker carries this for its 401s, so it is short.
 */
export function sourceSecretProblem(
  { type, auth }: { readonly type: SourceType; readonly auth?: string | undefined },
  secret: string,
): string | undefined {
  // Dashboards and files of variables keep the line end that came along. A key in PEM is read without it.
  if (secret.trim() !== secret && !secret.includes("-----")) return "begins or ends with white space"
  // https://github.com/contentful/node-apps-toolkit (src/requests/typings/validators.ts) takes no other.
  if (type === "contentful" && !/^[\w+/=-]{64}$/.test(secret))
    return "is not the 64 characters of Contentful's"
  if (STANDARD.includes(type) || secret.startsWith("whsec_")) {
    const isKey = secret.startsWith(PUBLIC_KEY)
      ? fromBase64(secret.slice(PUBLIC_KEY.length))?.length === PUBLIC_KEY_BYTES
      : parseWebhookSecret(secret)
    if (!isKey) return "is not whsec_ and base64"
  }
  if (auth === "basic" && !secret.includes(":")) return "is not user:password"
  if (auth === "bearer" && !/^[!-~]+$/.test(secret))
    return "is no bearer token: only printable ASCII without blanks"
  if (auth?.startsWith("header:") && !/^[ -~]+$/.test(secret)) return "holds what no header carries"
  return undefined
}
