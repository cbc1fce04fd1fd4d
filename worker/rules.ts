import { findNamespace, type Resolved } from "../protocol/config/config.ts"
import type { Config, RuleConfig, SourceConfig } from "../protocol/config/schema.ts"
import type { Variable } from "../protocol/config/template.ts"
import {
  compact,
  type Entity,
  type Invalidation,
  type Mode,
  SELECTOR_LISTS,
} from "../protocol/invalidation.ts"
import { Gathering, type Likeness } from "./rules/gather.ts"
import { matches, matchesText } from "./rules/match.ts"
import { render } from "./rules/render.ts"
import { readVariants, type Variant } from "./rules/variants.ts"
import type { EventKind, SourceEvent } from "./sources/source.ts"

/** What a verified delivery said, and under which configuration it is judged. */
export interface Told {
  readonly events: readonly SourceEvent[]
  /** The parsed body, for `fields` and `field:/pointer`. */
  readonly body: unknown
  readonly sourceName: string
  readonly source: Resolved<SourceConfig>
  /** The whole file, which says where namespaces lie. */
  readonly config: Config
}

export interface Derived {
  /** Held against their namespaces, 1,000 selectors at most in all. One without any is its namespace as a whole. */
  readonly invalidations: readonly Invalidation[]
  /** What was ignored, dropped or widened, and why, for people. Of the body no more than a type and an environment. */
  readonly notes: readonly string[]
  /** The positions of the configured rules that matched. */
  readonly rules: readonly number[]
}

/** What one variant of an event is judged with. */
interface Judging extends Told {
  readonly variant: Variant
  readonly gathering: Gathering
}

/**
 * What events invalidate under the source's rules. Pure; in doubt it widens to the namespace and never narrows: what
 * comes of an event covers the record that it is about, whatever the sender left out of it.
 */
export function deriveInvalidations(told: Told): Derived {
  const gathering = new Gathering()
  const matched = new Set<number>()
  for (const event of told.events) {
    const variants = readVariants(event, event.body ?? told.body, told.source.fields ?? {})
    if (!variants) everywhere(gathering, told.source, onlyKind(event.kind), "the delivery names too much")
    for (const variant of variants ?? []) {
      const judging = { ...told, variant, gathering }
      if (isElsewhere(judging)) continue
      if (event.isModel) everywhere(gathering, told.source, variant, "the model changed")
      else for (const rule of judge(judging)) matched.add(rule)
    }
  }
  return { ...gathering.result(), rules: [...matched] }
}

/** A source's namespaces as a whole: what a delivery comes to that is signed and says nothing usable. */
export function wholeNamespace(
  source: Resolved<SourceConfig>,
  why: string,
  kind: EventKind = "update",
): Derived {
  const gathering = new Gathering()
  everywhere(gathering, source, onlyKind(kind), why)
  return { ...gathering.result(), rules: [] }
}

/**
 * Every namespace that a source can speak of: its own, and those that its rules name. As hard as the kind asks, or a
 * rule that may be meant.
 */
function everywhere(
  gathering: Gathering,
  source: Resolved<SourceConfig>,
  variant: Variant,
  why: string,
): void {
  const rules = source.rules ?? []
  const mode = modeFor(valuesOf(variant, "kind"))
  const isHard = (rule: RuleConfig) => rule.mode === "purge" && matches(rule.when ?? {}, variant) !== false
  const namespaces = new Map([[source.namespace, mode]])
  for (const rule of rules) {
    const { namespace = source.namespace } = rule
    namespaces.set(namespace, isHard(rule) ? "purge" : (namespaces.get(namespace) ?? mode))
  }
  for (const [namespace, hardest] of namespaces) {
    gathering.whole(likenessOf(source, hardest, { namespace }), why)
  }
}

/** Applies every rule that matches, or what stands in for rules; answers which of the configured ones did. */
function judge(judging: Judging): number[] {
  const { source, variant, gathering } = judging
  if (!source.rules?.length) {
    applyDefault(judging)
    return []
  }
  const applying: number[] = []
  for (const [index, rule] of source.rules.entries()) {
    const match = matches(rule.when ?? {}, variant)
    if (match === false) continue
    applying.push(index)
    const name = `rules.${index}`
    if (match === true) applyRule(rule, name, judging)
    else {
      const likeness = likenessOf(source, modeFor(valuesOf(variant, "kind")), rule)
      gathering.whole(likeness, `${name}: the delivery does not tell what its \`when\` asks for`)
    }
  }
  if (applying.length === 0) applyOtherwise(judging)
  return applying
}

/** All that is known of a delivery that says nothing else. */
const onlyKind = (kind: EventKind): Variant => ({
  values: (from) => ("variable" in from && from.variable === "kind" ? [kind] : []),
})

const valuesOf = (variant: Variant, variable: Variable): readonly string[] => variant.values({ variable })

/** A record that must no longer be seen is purged; whatever else changed may be served while it is revalidated. */
const modeFor = (kinds: readonly string[]): Mode =>
  kinds.includes("unpublish") || kinds.includes("delete") ? "purge" : "invalidate"

const likenessOf = (source: Resolved<SourceConfig>, mode: Mode, rule: RuleConfig = {}): Likeness => ({
  namespace: rule.namespace ?? source.namespace,
  mode: rule.mode ?? mode,
  settle: rule.settle ?? source.settle,
  secondPass: rule.secondPass ?? source.secondPass,
})

/** What is named in a note: enough to find it in the sender, not enough to fill a log. */
const short = (text: string): string => text.slice(0, 64)

/** Whether the event happened in an environment that does not count. One that names none counts everywhere. */
function isElsewhere({ variant, source: { environments }, gathering }: Judging): boolean {
  const told = valuesOf(variant, "environment")
  const [environment] = told
  if (!environments || environment === undefined) return false
  if (told.some((one) => environments.some((pattern) => matchesText(pattern, one)))) return false
  gathering.note(`the environment ${short(environment)} is none of this source's environments`)
  return true
}

function applyOtherwise({ variant, source, sourceName, gathering }: Judging): void {
  const kind = valuesOf(variant, "kind")
  const type = valuesOf(variant, "type").join()
  const why = `no rule of ${sourceName} matches: ${short(kind.join())} of ${type === "" ? "no type" : short(type)}`
  if (source.otherwise === "ignore") gathering.note(why)
  else gathering.whole(likenessOf(source, modeFor(kind)), why)
}

/** Whether a source tells no types at all, so that no page is labelled by one. */
const isTypeless = ({ type, fields }: Resolved<SourceConfig>): boolean =>
  type === "prismic" || (type === "json" && fields?.["type"] === undefined)

/** What applies where no rules are configured. */
function applyDefault(judging: Judging): void {
  const { variant, source, gathering } = judging
  const kind = valuesOf(variant, "kind")
  const hasType = valuesOf(variant, "type").length > 0
  const name = "the default rule"
  if (kind.includes("tags")) return applyRule({ tags: ["{tags}"] }, name, judging)
  const whole = (why: string) => gathering.whole(likenessOf(source, modeFor(kind)), why)
  // No page is labelled with the id of a deploy.
  if (kind.includes("deploy")) return whole("a deploy concerns every page")
  if (valuesOf(variant, "id").length === 0) return whole("the delivery names no id")
  // A page is labelled by both, unless the sender never tells a type.
  if (!hasType && !isTypeless(source)) return whole("the delivery names no type")
  applyRule({ tags: hasType ? ["{type}-{id}", "type-{type}"] : ["id-{id}"] }, name, judging)
}

/** @param name how notes call the rule */
function applyRule(rule: RuleConfig, name: string, { variant, source, config, gathering }: Judging): void {
  const likeness = likenessOf(source, modeFor(valuesOf(variant, "kind")), rule)
  const entity = entityOf(variant)
  if (entity) gathering.about(likeness, entity)
  const templates = SELECTOR_LISTS.flatMap((list) =>
    (rule[list] ?? []).map((template) => ({ list, template })),
  )
  // As in a publish: to name nothing is to name the namespace.
  if (templates.length === 0) gathering.whole(likeness)
  if (gathering.isWhole(likeness)) return
  const territory = findNamespace(config, source.tenant, likeness.namespace) ?? { hosts: [], prefixes: [] }
  const rendered = templates.map(({ list, template }) => ({
    list,
    where: `${name}: ${template}`,
    ...render(template, list, variant, territory),
  }))
  // Also where another template says something: a list's tag does not stand on the page of its item.
  const lacking = rendered.find((each) => each.required)
  if (lacking) return gathering.whole(likeness, `${lacking.where}: ${lacking.fault}`)
  for (const { list, where, values, fault, absent } of rendered) {
    gathering.add(likeness, list, values)
    if (fault !== undefined) gathering.note(`${where}: ${fault}`, likeness)
    if (absent !== undefined) gathering.note(`${where}: ${absent}`)
  }
}

/** Longest text of an entity that a record keeps. */
const MAX_ENTITY_TEXT = 255

/** The one value of a variable, where it has just one that a record can keep. */
function only(values: readonly string[]): string | undefined {
  const [value, second] = values
  return second === undefined && value !== undefined && value.length <= MAX_ENTITY_TEXT ? value : undefined
}

/** What a variant is about, as records tell it; undefined where it names no id, or several. */
function entityOf(variant: Variant): Entity | undefined {
  const id = only(valuesOf(variant, "id"))
  if (id === undefined) return undefined
  return compact({ type: only(valuesOf(variant, "type")), id, version: only(valuesOf(variant, "version")) })
}
