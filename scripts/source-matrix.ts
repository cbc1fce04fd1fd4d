/** `docs/sources.md`: every source, by what the configuration knows of its type. */
import { SOURCE_TRAITS, type SourceTraits } from "../protocol/config/source-options.ts"
import { MINUTE, type Milliseconds, SECOND } from "../protocol/time.ts"
import { SOURCES } from "../worker/sources/list.ts"

export function sourceMatrix(): string {
  const rows = SOURCES.map(({ type }) => {
    const { signed, publicKeys = false, tolerance, settle, secondPass }: SourceTraits = SOURCE_TRAITS[type]
    const how = publicKeys ? "yes, by keys that it publishes" : signed ? "yes" : "no: `auth`"
    return `| [${type}](sources/${type}.md) | ${how} | ${shown(tolerance)} | ${shown(settle)} | ${shown(secondPass)} |`
  })
  return `# Sources

Every sender whose webhooks are taken, at \`https://<your worker>/v1/hooks/<name>\`. Each page says where to click and what to paste, which rules suit a blog, what an event is, what that sender does not sign, and how often it tries again. This list is written by \`npm run generate\`.

Where deliveries are not signed, a secret that they carry lets them in: see \`auth\` in [configuration.md](configuration.md#sources), which also says what \`settle\` and \`secondPass\` are. Their defaults go by how long each sender is known to answer with the old content after its webhook; their sources stand in [source-options.ts](../protocol/config/source-options.ts).

| source | signed | a signed time may be off by | settle | second pass |
| --- | --- | --- | --- | --- |
${rows.join("\n")}
`
}

function shown(length: Milliseconds | undefined): string {
  if (length === undefined || length === 0) return ""
  return length % MINUTE === 0 ? `${length / MINUTE} min` : `${length / SECOND} s`
}
