/** `docs/targets.md`: what each target can do, as its driver says it. */
import { TARGETS } from "../dispatch/targets/list.ts"
import type { Capabilities, Kind, Pace, TargetDriver } from "../dispatch/targets/target.ts"
import { TAG_RULES, type TagCache } from "../protocol/tag-rules.ts"
import { DAY, HOUR, MINUTE, SECOND, type Milliseconds } from "../protocol/time.ts"

/** Options that decide what a target can do, where it can do most. */
const OPTIONS: Readonly<Record<string, object>> = {
  akamai: { cpCodes: [12_345] },
  cloudflare: { plan: "pro" },
  "cloudflare-kv": { kvNamespace: "…" },
  "edge-config": { edgeConfig: "…" },
  cloudfront: { tags: true, distribution: "…", completesIn: MINUTE, timeout: 10 * SECOND },
  gcore: { resource: 1 },
  keycdn: { tags: true, perMinute: 20 },
  netlify: { site: "…" },
  nextjs: { prefixes: true },
  nginx: { module: "cache-purge", wildcards: true },
  souin: { expressions: true },
  "workers-cache": { plan: "free" },
}

const KINDS: readonly Kind[] = ["tag", "url", "prefix", "host", "namespace", "everything"]

export function targetMatrix(): string {
  const rows = TARGETS.map((driver) => rowOf(driver))
  return `# Targets

What each type of target can do. This page is written by \`npm run generate\` from what the drivers say of themselves; where an option decides, with it set (\`plan: "pro"\`, \`tags: true\`, \`cpCodes\`, \`prefixes: true\`, \`wildcards: true\`, \`expressions: true\`). What a target cannot be told is said wider, or is \`not_supported\`: see \`onUnsupported\` in [configuration.md](configuration.md#targets). The relay calls itself \`tidemark/<version>\` in \`User-Agent\`, and follows no redirect.

A kind is *soft* where the vendor can mark stale, and *hard* where it can remove; the number is how many values one call may carry. Where there is no soft, an \`invalidate\` is carried out hard, and the record says \`as: "purge"\`.

| target | ${KINDS.join(" | ")} |
| --- |${" --- |".repeat(KINDS.length)}
${rows.map(({ kinds }) => kinds).join("\n")}

| target | its limits, as they are kept | a call repeated | gone from its edges after | tag header |
| --- | --- | --- | --- | --- |
${rows.map(({ about }) => about).join("\n")}

*Gone after* is what the vendor publishes, and no promise of ours. Sources of all of it stand on each target's page.
`
}

function rowOf(driver: TargetDriver): { readonly kinds: string; readonly about: string } {
  const { type } = driver
  // Neither what a driver can do nor its pace depends on a secret or an address.
  const config = { type, ...OPTIONS[type] } as never
  const capabilities: Capabilities = driver.capabilities(config)
  const { isIdempotent = false, propagation } = capabilities
  const limits = driver.pace(config).map(toldPace)
  const rules = Object.hasOwn(TAG_RULES, type) ? TAG_RULES[type as TagCache] : undefined
  const page = `[${type}](targets/${type}.md)`
  const cells = [
    limits.length === 0 ? "none published" : limits.join("; "),
    isIdempotent ? "is known again" : "is done again",
    propagation === undefined ? "not published" : propagation === 0 ? "at once" : shown(propagation),
    rules && capabilities.kinds.tag ? `\`${rules.header}\`` : "",
  ]
  return {
    kinds: `| ${page} | ${KINDS.map((kind) => cellOf(capabilities, kind)).join(" | ")} |`,
    about: `| ${page} | ${cells.join(" | ")} |`,
  }
}

function cellOf({ kinds }: Capabilities, kind: Kind): string {
  const own = kinds[kind]
  if (!own) return ""
  const modes = [
    ...(own.modes.includes("invalidate") ? ["soft"] : []),
    ...(own.modes.includes("purge") ? ["hard"] : []),
  ]
  return `${modes.join(", ")} ${kind === "everything" ? "" : own.batch}`.trim()
}

function toldPace(pace: Pace): string {
  const of = `by ${pace.kinds.join(", ")}`
  switch (pace.limit) {
    case "rate": {
      const what = pace.per === "value" ? "values" : "calls"
      const often =
        pace.perSecond >= 1
          ? `${round(pace.perSecond)} ${what} a second`
          : `${round(pace.perSecond * 60)} ${what} a minute`
      return `${often}, ${pace.burst} at once, ${of}`
    }
    case "inProgress":
      return `${pace.most} ${pace.per === "value" ? "values" : "calls"} in progress, ${shown(pace.lasting)} each, ${of}`
    case "spacing":
      return `the same value once in ${shown(pace.each)}, ${of}`
    case "budget":
      return `${pace.perMonth} values a month, ${of}`
  }
}

const round = (value: number): number => Number(value.toFixed(2))

function shown(length: Milliseconds): string {
  const [unit, size] = UNITS.find(([, one]) => length % one === 0) ?? ["ms", 1]
  return `${length / size} ${unit}`
}

const UNITS = [
  ["d", DAY],
  ["h", HOUR],
  ["min", MINUTE],
  ["s", SECOND],
] as const
