import { type Format, paint, plain } from "./output.ts"

/** A cell with a colour of its own. */
export interface Cell {
  readonly text: string
  readonly format: Format
}

const textOf = (cell: string | Cell): string => plain(typeof cell === "string" ? cell : cell.text)

/** Lines of columns that are as wide as what they hold; the last is not filled up. */
export function table(rows: readonly (readonly (string | Cell)[])[], heading?: readonly string[]): string[] {
  const headed = heading ? [heading.map((text): Cell => ({ text, format: "dim" })), ...rows] : rows
  const widths: number[] = []
  for (const row of headed) {
    for (const [column, cell] of row.entries()) {
      widths[column] = Math.max(widths[column] ?? 0, textOf(cell).length)
    }
  }
  return headed.map((row) =>
    row
      .map((cell, column) => {
        const text = textOf(cell)
        const fill = column === row.length - 1 ? "" : " ".repeat((widths[column] ?? 0) - text.length + 2)
        return (typeof cell === "string" ? text : paint(cell.format, text)) + fill
      })
      .join("")
      .trimEnd(),
  )
}
