import * as fc from "fast-check"

/** Addresses, and other spellings of them that RFC 3986 calls equivalent. */

/** @see https://www.rfc-editor.org/rfc/rfc3986#section-2.3 */
const UNRESERVED = Array.from("abyzABYZ0189-._~")
/** Bytes that are percent-encoded in any spelling: reserved characters as data, and what is not ASCII. */
const ENCODED = ["%2F", "%3F", "%23", "%26", "%2A", "%25", "%20", "%D9%85", "%C3%A9", "%E4"]
/** What is never encoded, or is another address when it is. */
const RAW = [";", ":", "@", "=", "+", "$", "*"]

export interface Respelling {
  /** In its normal form. */
  readonly url: string
  /** The same address. */
  readonly spelled: string
}

const piece = fc.oneof(
  fc.constantFrom(...UNRESERVED).map((char) => [char, hexOf(char), hexOf(char).toLowerCase()]),
  fc
    .constantFrom(...ENCODED)
    .map((escape) => [
      escape,
      escape.toLowerCase(),
      escape.replaceAll(/[A-F]/g, (digit, at: number) => (at % 2 === 0 ? digit.toLowerCase() : digit)),
      ...(escape === "%D9%85" ? ["م"] : []),
      ...(escape === "%C3%A9" ? ["é"] : []),
    ]),
  fc.constantFrom(...RAW).map((char) => [char]),
)

function hexOf(char: string): string {
  return `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`
}

/** Some pieces, as they are and spelled otherwise. */
const text = (minLength: number) =>
  fc
    .array(
      piece.chain((spellings) =>
        fc.constantFrom(...spellings).map((spelled) => [spellings[0] ?? "", spelled] as const),
      ),
      { minLength, maxLength: 6 },
    )
    .map(
      (pieces) =>
        [pieces.map(([normal]) => normal).join(""), pieces.map(([, spelled]) => spelled).join("")] as const,
    )

const isDots = (segment: string): boolean => segment === "." || segment === ".."

/** What comes before a segment, and goes when dots are resolved. */
const detour = fc.constantFrom("", "", "", "./", "%2e/", "x/../", "x/%2e%2E/", "x/.%2e/")

const segments = fc.array(
  fc.tuple(
    detour,
    text(1).filter(([normal]) => !isDots(normal)),
  ),
  { maxLength: 3 },
)

const sites = fc.constantFrom(
  ["https://www.example.com", "HTTPS://WWW.Example.com:443"],
  ["https://www.example.com", "https://www.example.com."],
  ["https://www.example.com:8443", "https://www.example.com.:8443"],
  ["http://www.example.com", "http://www.example.com:80"],
  ["https://xn--bcher-kva.example", "https://bücher.example"],
  ["https://xn--bcher-kva.example", "https://B%C3%BCcher.example"],
)

/** An address by its host, path and query, spelled in two ways. */
export const respelling: fc.Arbitrary<Respelling> = fc
  .tuple(sites, segments, fc.option(text(0), { nil: undefined }))
  .map(([[site = "", otherSite = ""], path, query]) => ({
    url: `${site}/${path.map(([, [normal]]) => normal).join("/")}${query ? `?${query[0]}` : ""}`,
    spelled: `${otherSite}/${path.map(([before, [, spelled]]) => before + spelled).join("/")}${query ? `?${query[1]}` : ""}`,
  }))
