/** Whether a visitor can read a body of this `Content-Encoding`; what they refuse by `q=0` they cannot. */
export function accepts({ headers }: Request, encoding: string): boolean {
  const accepted = (headers.get("accept-encoding") ?? "")
    .toLowerCase()
    .split(",")
    .filter((coding) => !/;\s*q=0(?:\.0*)?\s*$/.test(coding))
    .map((coding) => coding.replace(/;.*/, "").trim())
  return encoding
    .toLowerCase()
    .split(",")
    .map((coding) => coding.trim())
    .every((coding) => coding === "identity" || accepted.includes(coding) || accepted.includes("*"))
}
