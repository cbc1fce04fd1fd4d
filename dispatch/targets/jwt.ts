import { fromBase64, toBase64Url, utf8 } from "../../protocol/bytes.ts"

/** JSON Web Tokens signed with RS256, by a key that is an RSA one in PKCS #8. */

const RS256 = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }

/** The bytes within a PEM `PRIVATE KEY`; undefined when the text is none. */
export function readPem(text: string): Uint8Array<ArrayBuffer> | undefined {
  const [, base64] =
    /^\s*-----BEGIN PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END PRIVATE KEY-----\s*$/.exec(text) ?? []
  return base64 === undefined ? undefined : fromBase64(base64.replaceAll(/\s/g, ""))
}

/** Rejects where the bytes are no RSA key. */
export const importKey = (pkcs8: Uint8Array<ArrayBuffer>): Promise<CryptoKey> =>
  crypto.subtle.importKey("pkcs8", pkcs8, RS256, false, ["sign"])

/** @see https://www.rfc-editor.org/rfc/rfc7518#section-3.3 */
export const rs256 = async (input: string, key: CryptoKey): Promise<string> =>
  toBase64Url(new Uint8Array(await crypto.subtle.sign(RS256, key, utf8(input))))

const part = (value: object): string => toBase64Url(utf8(JSON.stringify(value)))

export async function signJwt(header: object, claims: object, key: CryptoKey): Promise<string> {
  const input = `${part({ alg: "RS256", typ: "JWT", ...header })}.${part(claims)}`
  return `${input}.${await rs256(input, key)}`
}
