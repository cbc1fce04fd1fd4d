import { hmac, sha256, toBase64, utf8 } from "../../protocol/bytes.ts"
import { isoTime, type Milliseconds } from "../../protocol/time.ts"

/** What an Akamai API client is given, in the words of its `.edgerc` file. */
export interface EdgeGridCredentials {
  /** The API client's own host. */
  readonly host: string
  readonly clientToken: string
  readonly clientSecret: string
  readonly accessToken: string
}

/**
 * The `Authorization` of one POST, by EdgeGrid (EG1-HMAC-SHA256), with no headers signed. Akamai takes it once, and
 * refuses a clock that is off by more than 30 seconds.
 *
 * @param path with its query, as it is sent
 * @param body 128 KiB at most: of a longer one only the beginning would be signed
 * @see https://techdocs.akamai.com/developer/docs/edgegrid
 */
export async function signEdgeGrid(
  { host, clientToken, clientSecret, accessToken }: EdgeGridCredentials,
  path: string,
  body: string,
  at: Milliseconds,
  nonce: string,
): Promise<string> {
  const timestamp = timestampOf(at)
  const unsigned = `EG1-HMAC-SHA256 client_token=${clientToken};access_token=${accessToken};timestamp=${timestamp};nonce=${nonce};`
  const digest = body === "" ? "" : toBase64(await sha256(utf8(body)))
  const noHeaders = ""
  const signed = ["POST", "https", host, path, noHeaders, digest, unsigned].join("\t")
  // The key is the text of the first signature, and not the bytes that it stands for.
  const key = toBase64(await hmac("SHA-256", utf8(clientSecret), utf8(timestamp)))
  return `${unsigned}signature=${toBase64(await hmac("SHA-256", utf8(key), utf8(signed)))}`
}

/** `20261120T12:00:00+0000` */
function timestampOf(at: Milliseconds): string {
  const [date = "", time = ""] = isoTime(at).split("T")
  return `${date.replaceAll("-", "")}T${time.slice(0, "12:00:00".length)}+0000`
}
