import { readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

export const GUARANTEES = fileURLToPath(new URL("../../docs/guarantees.md", import.meta.url))

/** Puts what a command found out between the marks `<!-- name -->` and `<!-- /name -->` of a page. */
export function replaceBetween(path: string, name: string, text: string): void {
  const [begin, end] = [`<!-- ${name} -->`, `<!-- /${name} -->`]
  const page = readFileSync(path, "utf8")
  const [from, to] = [page.indexOf(begin), page.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`${path} has no ${begin} … ${end}`)
  writeFileSync(path, `${page.slice(0, from)}${begin}\n\n${text}\n\n${page.slice(to)}`)
}
