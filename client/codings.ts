/** Codings that a visitor takes, in lower case. What is refused by `q=0` is none of them. */
export const codingsOf = ({ headers }: Request): readonly string[] =>
  (headers.get("accept-encoding") ?? "")
    .toLowerCase()
    .split(",")
    .filter((coding) => !/;\s*q=0(?:\.0*)?\s*$/.test(coding))
    .map((coding) => coding.replace(/;.*/, "").trim())
    .filter(Boolean)
    .toSorted()

/** Whether a visitor can read a body of this `Content-Encoding`. */
export function accepts(request: Request, encoding: string): boolean {
  const accepted = codingsOf(request)
  return encoding
    .toLowerCase()
    .split(",")
    .map((coding) => coding.trim())
    .every((coding) => coding === "identity" || accepted.includes(coding) || accepted.includes("*"))
}
