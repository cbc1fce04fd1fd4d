import { declaredNamespaces, findNamespace, type NamespaceSettings } from "../protocol/config/config.ts"
import type { Config, TargetConfig } from "../protocol/config/schema.ts"
import { concerns } from "../protocol/concern.ts"
import type { Epoch } from "../protocol/epoch.ts"
import { hasSelectors, type Mode } from "../protocol/invalidation.ts"
import type { Owed } from "../protocol/letter.ts"
import type { LogEntry } from "../protocol/log.ts"
import { isWithin, matchesAny, type Namespace } from "../protocol/namespace.ts"
import { asNormal, hostCoversUrl } from "../protocol/selector.ts"
import { namespaceTag, overflowTag } from "../protocol/tags.ts"
import { withoutCovered } from "./covered.ts"
import { atOnce, type Steps } from "./slices.ts"
import type { Capabilities, Kind } from "./targets/target.ts"

/**
 * From entries of the log to what one target is asked: merged, translated into what the target can do, freed of what
 * something wider covers. Pure, and never less than what was published (I6).
 */

/** One thing to purge, and all that asked for it. */
export interface Item {
  readonly kind: Kind
  /** As the vendor is told it. */
  readonly value: string
  /** What was meant, for people: the tag before its prefix and encoding. */
  readonly meant: string
  readonly mode: Mode
  readonly namespaces: readonly Namespace[]
  readonly epochs: readonly Epoch[]
}

/** What cannot be said to the target, nor anything wider: it becomes a dead letter. */
export interface Impossible {
  readonly kind: Kind
  readonly meant: string
  readonly mode: Mode
  readonly namespace: Namespace | null
  readonly epochs: readonly Epoch[]
  readonly detail: string
}

export interface Plan {
  readonly items: readonly Item[]
  readonly impossible: readonly Impossible[]
  /** Epochs that targets skip: a settle pass of theirs follows. */
  readonly settling: readonly Epoch[]
  /** What is sent instead for which epochs, where that is wider or harder than what was asked. */
  readonly as: ReadonlyMap<Epoch, string>
}

export interface PlanContext {
  readonly config: Config
  readonly tenant: string
  readonly target: TargetConfig
  readonly capabilities: Capabilities
}

type Epochs = readonly Epoch[]

/**
 * How much of its territory a whole namespace is said by.
 *
 * - `asConfigured` by its prefixes or its hosts, as `wholeBy` has it; where that cannot be said, `complete`
 * - `complete`     by both: publishing takes urls that lie in either, and this stands for what was published
 * - `whatever`     by what can be said, as nothing stands for all of it
 */
type Extent = "asConfigured" | "complete" | "whatever"

interface Way {
  readonly kind: "prefix" | "host"
  readonly values: readonly string[]
}

/**
 * An item in the making. Of a backlog there are as many as it has distinct values, so what each of them holds is kept
 * small: no set where one namespace is the rule, and epochs as they come.
 */
export interface Draft {
  readonly kind: Kind
  readonly value: string
  readonly meant: string
  mode: Mode
  namespaces: readonly Namespace[] | Set<Namespace>
  /** In no certain order, and perhaps some of them more than once. */
  epochs: Epoch[]
}

/** What makes two items the same one, but for their hardness. */
export const keyOf = (kind: Kind, value: string): string => `${kind}\n${value}`

const LIST_KINDS = [
  ["urls", "url"],
  ["prefixes", "prefix"],
  ["hosts", "host"],
] as const

const harder = (a: Mode, b: Mode): Mode => (a === "purge" || b === "purge" ? "purge" : "invalidate")

/** Plans a run of entries. Entries that do not concern the target are passed over. */
export function planEntries(entries: readonly LogEntry[], context: PlanContext): Plan {
  const draft = new PlanDraft(context)
  return atOnce(draft.finish(sayAll(draft, entries, context)))
}

/** The same of entries that are read page by page: what a backlog comes to is small where the backlog itself is not. */
export class Planning {
  readonly #context: PlanContext
  readonly #draft: PlanDraft
  readonly #settling: Epoch[] = []

  constructor(context: PlanContext) {
    this.#context = context
    this.#draft = new PlanDraft(context)
  }

  /** How many items there are so far. */
  get size(): number {
    return this.#draft.items.size
  }

  /** How long their values are together. */
  get length(): number {
    return this.#draft.length
  }

  /** Of how many entries a receipt must say something of their own. */
  get exceptions(): number {
    return this.#settling.length + this.#draft.as.size
  }

  /** In the order of the log. */
  take(entries: readonly LogEntry[]): void {
    for (const epoch of sayAll(this.#draft, entries, this.#context)) this.#settling.push(epoch)
  }

  /** Once, after the last entry. */
  finish(): Steps<Plan> {
    return this.#draft.finish(this.#settling)
  }
}

/** @returns the epochs of what settles: it is not said, as a pass of it follows */
function sayAll(
  draft: PlanDraft,
  entries: readonly LogEntry[],
  { target, capabilities }: PlanContext,
): Epoch[] {
  const settling: Epoch[] = []
  for (const { body, epoch } of entries) {
    if (!concerns(body, target.namespaces)) continue
    // The epochs of what settles are raised at once, and a mirror holds nothing else.
    if (body.settling && !capabilities.mirror) settling.push(epoch)
    else draft.say(body, [epoch])
  }
  return settling
}

/** Plans what is owed once more, by the configuration of now. */
export function planOwed(owed: Owed, context: PlanContext): Plan {
  const draft = new PlanDraft(context)
  draft.say(owed, owed.epochs)
  return atOnce(draft.finish([]))
}

/** What a resync can be cut into, so that a cache need not go stale in one instant: null where it is one thing. */
export const resyncParts = (context: PlanContext): readonly (Namespace | null)[] =>
  new PlanDraft(context).parts()

/**
 * What a lane that cannot prove it saw every entry purges: all that the target stands for. Of the entries that it did
 * see, those that are harder than that are purged as they were asked.
 */
export function planResync(
  mode: Mode,
  head: Epoch,
  entries: readonly LogEntry[],
  context: PlanContext,
): Plan {
  const draft = new PlanDraft(context)
  draft.everything(mode, [...new Set([...entries.map(({ epoch }) => epoch), head])])
  for (const entry of entries) {
    const { body } = entry
    const isHarder = mode !== "purge" && body.mode === "purge" && !body.settling
    if (isHarder && concerns(body, context.target.namespaces)) draft.say(body, [entry.epoch])
  }
  return atOnce(draft.finish([]))
}

/** What stands for a value that a vendor refused alone: its namespaces as a whole. Nothing stands for everything. */
export function planWider(item: Item, context: PlanContext): Plan {
  const draft = new PlanDraft(context)
  for (const namespace of item.kind === "everything" ? [] : item.namespaces) {
    draft.widen(item.kind, namespace, item.meant, item.mode, item.epochs)
  }
  return atOnce(draft.finish([]))
}

class PlanDraft {
  readonly #context: PlanContext
  readonly items = new Map<string, Draft>()
  length = 0
  readonly #impossible: Impossible[] = []
  /** What is sent instead, by whose epoch. */
  readonly as = new Map<Epoch, Set<string>>()
  readonly #settings = new Map<Namespace, NamespaceSettings | undefined>()
  readonly #below = new Map<Namespace, readonly Namespace[]>()
  readonly #tags = new Map<Namespace, Map<string, Draft>>()

  constructor(context: PlanContext) {
    this.#context = context
  }

  say(what: Omit<Owed, "epochs">, epochs: Epochs): void {
    const { mode, namespace } = what
    // A mirror has nothing narrower, and is no wider for that.
    if (this.#context.capabilities.mirror || namespace === null) this.everything(mode, epochs)
    else if (!hasSelectors(what)) this.#whole(namespace, mode, epochs)
    else {
      for (const tag of what.tags) this.#tag(namespace, tag, mode, epochs)
      for (const [list, kind] of LIST_KINDS) {
        for (const value of what[list]) this.#selector(kind, namespace, value, mode, epochs)
      }
    }
  }

  parts(): readonly (Namespace | null)[] {
    return this.#mayEverything() ? [null] : this.#ownNamespaces()
  }

  #tag(namespace: Namespace, tag: string, mode: Mode, epochs: Epochs): void {
    if (this.#can("tag")) {
      // In a backlog most tags were said before, and neither their label nor its key is made again.
      const said = this.#saidIn(namespace)
      const known = said.get(tag)
      if (known) this.#merge(known, namespace, mode, epochs)
      else said.set(tag, this.#add("tag", this.#label(namespace, tag), tag, namespace, mode, epochs))
      // Pages with more tags than there was room for carry this one instead, where a cache reads tags from a header.
      const overflow = overflowTag(namespace)
      if (this.#settingsOf(namespace)?.overflowTag ?? !WITHOUT_LABELS.test(this.#context.target.type))
        this.#add("tag", this.#label(namespace, overflow), overflow, namespace, mode, epochs)
    } else this.#unsupported("tag", namespace, tag, mode, epochs)
  }

  #selector(
    kind: "url" | "prefix" | "host",
    namespace: Namespace,
    value: string,
    mode: Mode,
    epochs: Epochs,
  ): void {
    if (this.#can(kind)) this.#addSpelled(kind, value, namespace, mode, epochs)
    else this.#unsupported(kind, namespace, value, mode, epochs)
  }

  #whole(namespace: Namespace, mode: Mode, epochs: Epochs): void {
    for (const part of this.#partsOf(namespace)) {
      if (!this.#addWhole(part, mode, epochs, "asConfigured")) {
        this.#allElseFailed("namespace", part, part, mode, epochs)
      }
    }
  }

  everything(mode: Mode, epochs: Epochs): void {
    if (this.#mayEverything()) {
      this.#add("everything", "*", "*", undefined, mode, epochs)
      return
    }
    const parts = this.#ownNamespaces()
    this.#note(epochs, "namespaces")
    if (parts.length === 0) this.#impossibleFor("everything", "*", null, mode, epochs)
    for (const part of parts) {
      if (!this.#addWhole(part, mode, epochs, "complete"))
        this.#impossibleFor("namespace", part, part, mode, epochs)
    }
  }

  widen(kind: Kind, namespace: Namespace, meant: string, mode: Mode, epochs: Epochs): void {
    this.#note(epochs, "namespace")
    for (const part of this.#partsOf(namespace)) {
      if (!this.#addWhole(part, mode, epochs, "complete"))
        this.#allElseFailed(kind, part, meant, mode, epochs)
    }
  }

  /** A namespace, cut to what the target stands for of it. */
  #partsOf(namespace: Namespace): readonly Namespace[] {
    const { namespaces } = this.#context.target
    if (namespace === "*" || matchesAny(namespace, namespaces)) return [namespace]
    return namespaces.filter((pattern) => isWithin(pattern, namespace))
  }

  #unsupported(kind: Kind, namespace: Namespace, meant: string, mode: Mode, epochs: Epochs): void {
    if (this.#context.target.onUnsupported === "widen") this.widen(kind, namespace, meant, mode, epochs)
    else this.#impossibleFor(kind, meant, namespace, mode, epochs)
  }

  #allElseFailed(kind: Kind, namespace: Namespace, meant: string, mode: Mode, epochs: Epochs): void {
    if (this.#mayEverything()) {
      this.#note(epochs, "everything")
      this.#add("everything", "*", "*", namespace, mode, epochs)
    } else this.#impossibleFor(kind, meant, namespace, mode, epochs)
  }

  #impossibleFor(kind: Kind, meant: string, namespace: Namespace | null, mode: Mode, epochs: Epochs): void {
    const detail = `the target cannot purge by ${kind}, and nothing wider may stand for it`
    this.#impossible.push({ kind, meant, mode, namespace, epochs, detail })
  }

  /**
   * Says a whole namespace in the way that it is configured to be said, or else in any other that the target knows.
   * False: what it could say, if anything, does not stand for all of it.
   */
  #addWhole(namespace: Namespace, mode: Mode, epochs: Epochs, extent: Extent): boolean {
    if (namespace !== "*" && this.#can("namespace")) {
      this.#add("namespace", namespace, namespace, namespace, mode, epochs)
      return true
    }
    const byTag = this.#settingsOf(namespace)?.wholeBy === "tag"
    if (byTag && this.#addNamespaceTag(namespace, mode, epochs)) return true
    if (this.#addTerritory(namespace, mode, epochs, extent)) return true
    // Nobody said that its responses carry the tag: what surely reaches them all comes first, where that is allowed.
    if (!byTag && !this.#mayEverything() && this.#addNamespaceTag(namespace, mode, epochs)) return true
    this.#addTerritory(namespace, mode, epochs, "whatever")
    return false
  }

  #addNamespaceTag(namespace: Namespace, mode: Mode, epochs: Epochs): boolean {
    // Of those that only "*" declares nobody knows the names, and so neither their tags.
    if (namespace === "*" || !this.#settingsOf(namespace) || !this.#can("tag")) return false
    // Responses carry the tag of each ancestor too, so one does; but under their own namespace's prefix.
    const family = [namespace, ...this.#declaredBelow(namespace)]
    const prefixes = new Set(family.map((name) => this.#settingsOf(name)?.tagPrefix ?? ""))
    const labels = [...prefixes].map((prefix) =>
      this.#context.capabilities.tags.encode(prefix + namespaceTag(namespace)),
    )
    for (const label of labels) this.#add("tag", label, namespaceTag(namespace), namespace, mode, epochs)
    return true
  }

  /** By prefixes or hosts, its own and those of every namespace declared below it. */
  #addTerritory(namespace: Namespace, mode: Mode, epochs: Epochs, extent: Extent): boolean {
    const own = this.#waysOf(namespace, extent)
    const below = this.#declaredBelow(namespace).map((name) => this.#waysOf(name, extent))
    if (!own || below.includes(undefined)) return false
    for (const { kind, values } of [...own, ...below.flatMap((ways) => ways ?? [])]) {
      for (const value of values) this.#addSpelled(kind, value, namespace, mode, epochs)
    }
    return true
  }

  #waysOf(namespace: Namespace, extent: Extent): readonly Way[] | undefined {
    const settings = this.#settingsOf(namespace)
    if (!settings) return undefined
    const ways: readonly Way[] = [
      { kind: "prefix", values: settings.prefixes },
      { kind: "host", values: settings.hosts },
    ]
    const declared = ways.filter(({ values }) => values.length > 0)
    const configured = declared.filter(({ kind }) => kind === settings.wholeBy && this.#can(kind))
    if (extent === "asConfigured" && configured.length > 0) return configured
    const sayable = declared.filter(({ kind }) => this.#can(kind))
    const byHost = this.#can("host") ? settings.hosts : []
    const isComplete = declared.every(
      ({ kind, values }) =>
        this.#can(kind) || values.every((value) => byHost.some((host) => hostCoversUrl(host, value))),
    )
    return sayable.length > 0 && (extent === "whatever" || isComplete) ? sayable : undefined
  }

  #declaredBelow(namespace: Namespace): readonly Namespace[] {
    let below = this.#below.get(namespace)
    if (!below) {
      const declared = Object.keys(declaredNamespaces(this.#context.config, this.#context.tenant))
      below = declared.filter((name) => name !== "*" && name !== namespace && isWithin(name, namespace))
      this.#below.set(namespace, below)
    }
    return below
  }

  /** The outermost namespaces that the target stands for; `*` for those that are declared by it alone. */
  #ownNamespaces(): Namespace[] {
    const { config, tenant, target } = this.#context
    const declared = Object.keys(declaredNamespaces(config, tenant))
    const own = target.namespaces.flatMap((pattern) => (pattern === "*" ? declared : [pattern]))
    const distinct = [...new Set(own)]
    return distinct.filter(
      (name) =>
        !distinct.some((other) => other !== name && other !== "*" && name !== "*" && isWithin(name, other)),
    )
  }

  #settingsOf(namespace: Namespace): NamespaceSettings | undefined {
    if (!this.#settings.has(namespace)) {
      this.#settings.set(namespace, findNamespace(this.#context.config, this.#context.tenant, namespace))
    }
    return this.#settings.get(namespace)
  }

  #label(namespace: Namespace, tag: string): string {
    return this.#context.capabilities.tags.encode((this.#settingsOf(namespace)?.tagPrefix ?? "") + tag)
  }

  #can(kind: Kind): boolean {
    return this.#context.capabilities.kinds[kind] !== undefined
  }

  #mayEverything(): boolean {
    const { target, capabilities } = this.#context
    return (target.allowEverything || capabilities.mirror !== undefined) && this.#can("everything")
  }

  /** A host has one spelling. Of what is meant people are told as it was published. */
  #addSpelled(
    kind: "url" | "prefix" | "host",
    value: string,
    namespace: Namespace,
    mode: Mode,
    epochs: Epochs,
  ): void {
    const { spellings = "both" } = this.#context.capabilities
    // Most of a backlog has nothing encoded, and is not parsed again.
    const normal = kind === "host" || !value.includes("%") ? value : asNormal(value)
    const said = new Set(spellings === "normal" ? [normal] : [value, normal])
    if (spellings === "cases") said.add(normal.replaceAll(/%[\dA-F]{2}/g, (escape) => escape.toLowerCase()))
    for (const spelled of said) this.#add(kind, spelled, value, namespace, mode, epochs)
  }

  #add(
    kind: Kind,
    value: string,
    meant: string,
    namespace: Namespace | undefined,
    asked: Mode,
    epochs: Epochs,
  ): Draft {
    const key = keyOf(kind, value)
    let item = this.items.get(key)
    if (!item) {
      item = { kind, value, meant, mode: "invalidate", namespaces: NOWHERE, epochs: [] }
      this.items.set(key, item)
      this.length += value.length
    }
    this.#merge(item, namespace, asked, epochs)
    return item
  }

  #merge(item: Draft, namespace: Namespace | undefined, asked: Mode, epochs: Epochs): void {
    const modes = this.#context.capabilities.kinds[item.kind]?.modes
    const mode: Mode = modes?.includes(asked) ? asked : "purge"
    if (mode !== asked) this.#note(epochs, "purge")
    item.mode = harder(item.mode, mode)
    for (const epoch of epochs) if (item.epochs.at(-1) !== epoch) item.epochs.push(epoch)
    if (namespace !== undefined) this.#addNamespace(item, namespace)
  }

  #addNamespace(item: Draft, namespace: Namespace): void {
    const { namespaces } = item
    if (namespaces instanceof Set) namespaces.add(namespace)
    else if (namespaces.length === 0) item.namespaces = [namespace]
    else if (namespaces[0] !== namespace) item.namespaces = new Set([...namespaces, namespace])
  }

  /** Items of tags as they were published in a namespace. */
  #saidIn(namespace: Namespace): Map<string, Draft> {
    const said = this.#tags.get(namespace) ?? new Map<string, Draft>()
    if (said.size === 0) this.#tags.set(namespace, said)
    return said
  }

  #note(epochs: Epochs, what: string): void {
    for (const epoch of epochs) {
      const known = this.as.get(epoch)
      if (known) known.add(what)
      else this.as.set(epoch, new Set([what]))
    }
  }

  *finish(settling: readonly Epoch[]): Steps<Plan> {
    yield* this.#escalate()
    const items: Item[] = []
    for (const draft of yield* withoutCovered(this.items)) {
      yield draft.epochs.length
      items.push(finished(draft))
    }
    return {
      items,
      impossible: this.#impossible,
      settling,
      as: new Map([...this.as].map(([epoch, what]) => [epoch, [...what].toSorted().join(", ")])),
    }
  }

  /** The user's own rule: above so many selectors, say something wider once. */
  *#escalate(): Steps<void> {
    const { escalate } = this.#context.target
    if (!escalate || this.items.size <= escalate.selectors) return
    const narrow = [...this.items.values()].filter(
      (item) => item.kind !== "everything" && item.kind !== "namespace",
    )
    const toEverything = escalate.to === "everything" && this.#mayEverything()
    for (const item of narrow) {
      yield item.value.length
      const epochs = [...item.epochs]
      this.items.delete(keyOf(item.kind, item.value))
      this.#note(epochs, toEverything ? "everything" : "namespace")
      if (toEverything) this.#add("everything", "*", "*", undefined, item.mode, epochs)
      else {
        const parts = [...item.namespaces].flatMap((namespace) => this.#partsOf(namespace))
        const said = parts.map((part) => this.#addWhole(part, item.mode, epochs, "complete"))
        if (said.includes(false)) this.#restore(item)
      }
    }
  }

  #restore(item: Draft): void {
    this.items.set(keyOf(item.kind, item.value), item)
  }
}

const NOWHERE: readonly Namespace[] = []

/** Types of targets that take tags and keep no responses: what they are told is what was published. */
const WITHOUT_LABELS = /^(http|print)$/

/** The draft itself: nothing is made twice of what there is a lot of. */
function finished(item: Draft): Item {
  const { namespaces } = item
  const whole = namespaces instanceof Set ? [...namespaces] : namespaces
  return Object.assign(item, { namespaces: whole, epochs: eachOnce(item.epochs) })
}

/** The same list where it is in order already, as that of an item which nothing else was merged into is. */
const eachOnce = (epochs: Epoch[]): Epoch[] =>
  epochs.every((epoch, index) => index === 0 || epoch > (epochs[index - 1] ?? 0))
    ? epochs
    : [...new Set(epochs)]
