import { hmac, sha256, toHex, utf8 } from "../../protocol/bytes.ts"
import { isoTime, type Milliseconds } from "../../protocol/time.ts"

/** Signature Version 4, as far as a request to one of AWS's APIs needs it: headers, no query. */

export interface AwsCredentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string | undefined
}

export interface Unsigned {
  readonly method: string
  /** Without a query. Its host is signed too, so the request goes to no other. */
  readonly url: string
  /** Each is signed; whoever sends the request changes none of them. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

export interface Scope {
  readonly region: string
  readonly service: string
  readonly at: Milliseconds
}

/**
 * The headers to send: those given, `x-amz-date`, `x-amz-security-token` for temporary credentials, and `authorization`.
 *
 * @see https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
export async function signed(
  { method, url, headers, body }: Unsigned,
  { region, service, at }: Scope,
  { accessKeyId, secretAccessKey, sessionToken }: AwsCredentials,
): Promise<Record<string, string>> {
  const { host, pathname } = new URL(url)
  const time = isoTime(at).replaceAll(/[-:]|\.\d+/g, "")
  const date = time.slice(0, "20261120".length)
  const sent = {
    ...headers,
    "x-amz-date": time,
    ...(sessionToken === undefined ? {} : { "x-amz-security-token": sessionToken }),
  }
  const canonical = Object.entries({ ...sent, host })
    .map(([name, value]) => [name.toLowerCase(), value.trim().replaceAll(/ +/g, " ")] as const)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
  const names = canonical.map(([name]) => name).join(";")
  const request = [
    method,
    // Encoded a second time: only S3 signs a path as it is sent.
    pathname.split("/").map(encode).join("/"),
    "",
    ...canonical.map(([name, value]) => `${name}:${value}`),
    "",
    names,
    await digest(body),
  ].join("\n")
  const scope = [date, region, service, "aws4_request"]
  const text = ["AWS4-HMAC-SHA256", time, scope.join("/"), await digest(request)].join("\n")
  let key = utf8(`AWS4${secretAccessKey}`)
  for (const part of scope) key = await hmac("SHA-256", key, utf8(part))
  const signature = toHex(await hmac("SHA-256", key, utf8(text)))
  const authorization = `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope.join("/")}, SignedHeaders=${names}, Signature=${signature}`
  return { ...sent, authorization }
}

const digest = async (text: string): Promise<string> => toHex(await sha256(utf8(text)))

/** All but the unreserved characters, of which `encodeURIComponent` leaves five too many. */
const encode = (segment: string): string =>
  encodeURIComponent(segment).replaceAll(
    /[!'()*]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`,
  )
