import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import type { ConfigInput } from "../../protocol/config/schema.ts"
import type { SourceType } from "../../protocol/config/source-options.ts"

type SourceInput = NonNullable<ConfigInput["sources"]>[string]

/** The source that the page of a type shows as an example, as its readers copy it; its secret is `HOOK_SECRET`. */
export async function sourceOfDocs(type: SourceType): Promise<SourceInput> {
  const page = await readFile(new URL(`../../docs/sources/${type}.md`, import.meta.url), "utf8")
  // Where there are several, the last one has the rules.
  const [, example] = [...page.matchAll(/^```ts\n(sources: \{\n.*?\n\},?)\n```$/gms)].at(-1) ?? []
  if (example === undefined) throw new Error(`docs/sources/${type}.md shows no source`)
  const directory = await mkdtemp(join(tmpdir(), "tidemark-docs-"))
  try {
    const file = join(directory, "source.mjs")
    await writeFile(file, `const secret = () => ({ secret: "HOOK_SECRET" })\nexport default { ${example} }\n`)
    const shown = (await import(pathToFileURL(file).href)) as {
      default: { sources: Record<string, SourceInput> }
    }
    const [source] = Object.values(shown.default.sources)
    if (!source) throw new Error(`docs/sources/${type}.md shows an example without a source`)
    return { ...source, secret: { secret: "HOOK_SECRET" } }
  } finally {
    await rm(directory, { recursive: true })
  }
}
