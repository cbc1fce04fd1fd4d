import { sha256, toHex, utf8 } from "./bytes.ts"

/** JSON with the members of every object in code-unit order and no white space: equal values, equal text. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item)).join(",")}]`
  if (value !== null && typeof value === "object") {
    const members = Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
    return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonicalJson(member)}`).join(",")}}`
  }
  return JSON.stringify(value)
}

/** SHA-256 of the canonical form, in hex: whether two bodies under one idempotency key are the same request. */
export const fingerprint = async (value: unknown): Promise<string> =>
  toHex(await sha256(utf8(canonicalJson(value))))
