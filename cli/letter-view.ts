import { epochsOf, type Letter } from "./letter.ts"
import { paint, plain } from "./output.ts"
import { selectorsOf, subjectOf, text } from "./record-view.ts"
import { isRecord } from "./json.ts"
import { table } from "./table.ts"

/** Dead letters for people. Whatever a server said of itself goes through `plain`. */

/** Those of a resync may be of several. */
function namespaceOf(letter: Letter): string {
  const several: unknown = letter["namespaces"]
  return Array.isArray(several) && several.length > 0
    ? several.map(text).join(", ")
    : text(letter["namespace"]) || "*"
}

/** One that could not be read names nothing, and is put back as everything. */
function selectedBy({ namespace, namespaces, selectors }: Letter): Readonly<Record<string, unknown>> {
  const selected = isRecord(selectors) ? selectors : {}
  const isOfNone = typeof namespace !== "string" && namespaces === undefined
  return isOfNone && selectorsOf(selected).length === 0 ? { everything: true } : selected
}

export const letterTable = (letters: readonly Letter[]): string[] =>
  table(
    letters.map((letter) => [
      letter.id,
      text(letter["at"]),
      namespaceOf(letter),
      subjectOf(selectedBy(letter)),
      text(letter["mode"]),
      text(letter["error"]),
    ]),
    ["ID", "AT", "NAMESPACE", "WHAT", "MODE", "ERROR"],
  )

/** Everything that a dead letter tells, over several lines. */
export function letterLines(target: string, letter: Letter): string[] {
  const selectors = selectorsOf(selectedBy(letter))
  const epochs = epochsOf(letter)
  const fields: [string, string][] = [
    ["target", plain(target)],
    ["node", text(letter["node"])],
    ["given up", text(letter["at"])],
    ["namespace", namespaceOf(letter)],
    ["mode", text(letter["mode"])],
    ["error", paint("red", text(letter["error"]))],
    ...(epochs.length > 0 ? epochs.map(String) : ["not known"]).map((id): [string, string] => ["of", id]),
    ...(selectors.length > 0 ? selectors : [subjectOf(selectedBy(letter))]).map((what): [string, string] => [
      "what",
      what,
    ]),
    ["raw", text(letter["raw"])],
  ]
  return [
    paint("bold", `dead letter ${letter.id}`),
    ...fields.filter(([, value]) => value !== "").map(([name, value]) => `  ${name.padEnd(9)}  ${value}`),
  ]
}
