import { declaredNamespaces, findNamespace, type NamespaceSettings } from "../protocol/config/config.ts"
import type { Config, TargetConfig } from "../protocol/config/schema.ts"
import { concerns } from "../protocol/concern.ts"
import type { Epoch } from "../protocol/epoch.ts"
import { hasSelectors, type Mode } from "../protocol/invalidation.ts"
import type { LogEntry } from "../protocol/log.ts"
import { isWithin, matchesAny, type Namespace } from "../protocol/namespace.ts"
import { hostCovers, hostCoversUrl, prefixCovers } from "../protocol/selector.ts"
import { namespaceTag } from "../protocol/tags.ts"
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

interface Draft {
  readonly kind: Kind
  readonly value: string
  readonly meant: string
  mode: Mode
  readonly namespaces: Set<Namespace>
  readonly epochs: Set<Epoch>
}

const LIST_KINDS = [
  ["urls", "url"],
  ["prefixes", "prefix"],
  ["hosts", "host"],
] as const

const harder = (a: Mode, b: Mode): Mode => (a === "purge" || b === "purge" ? "purge" : "invalidate")

/** Plans a run of entries. Entries that do not concern the target are passed over. */
export function planEntries(entries: readonly LogEntry[], context: PlanContext): Plan {
  const draft = new PlanDraft(context)
  const settling: Epoch[] = []
  for (const { epoch, body } of entries) {
    if (!concerns(body, context.target.namespaces)) continue
    const { mode, namespace } = body
    if (body.settling) settling.push(epoch)
    else if (namespace === null) draft.everything(mode, epoch)
    else if (!hasSelectors(body)) draft.whole(namespace, mode, epoch)
    else {
      for (const tag of body.tags) draft.tag(namespace, tag, mode, epoch)
      for (const [list, kind] of LIST_KINDS) {
        for (const value of body[list]) draft.selector(kind, namespace, value, mode, epoch)
      }
    }
  }
  return draft.finish(settling)
}

/** What a lane that cannot prove it saw every entry purges: all that the target stands for. */
export function planResync(mode: Mode, epoch: Epoch, context: PlanContext): Plan {
  const draft = new PlanDraft(context)
  draft.everything(mode, epoch)
  return draft.finish([])
}

/** What stands for a value that a vendor refused alone: its namespaces as a whole. */
export function planWider(item: Item, context: PlanContext): Plan {
  const draft = new PlanDraft(context)
  for (const namespace of item.namespaces) {
    for (const epoch of item.epochs) draft.widen(item.kind, namespace, item.meant, item.mode, epoch)
  }
  return draft.finish([])
}

class PlanDraft {
  readonly #context: PlanContext
  readonly #items = new Map<string, Draft>()
  readonly #impossible: Impossible[] = []
  readonly #as = new Map<Epoch, Set<string>>()
  readonly #settings = new Map<Namespace, NamespaceSettings | undefined>()

  constructor(context: PlanContext) {
    this.#context = context
  }

  tag(namespace: Namespace, tag: string, mode: Mode, epoch: Epoch): void {
    const label = this.#label(namespace, tag)
    if (this.#can("tag") && label !== undefined) this.#add("tag", label, tag, namespace, mode, epoch)
    else this.#unsupported("tag", namespace, tag, mode, epoch)
  }

  selector(kind: "url" | "prefix" | "host", namespace: Namespace, value: string, mode: Mode, epoch: Epoch): void {
    if (this.#can(kind)) this.#add(kind, value, value, namespace, mode, epoch)
    else this.#unsupported(kind, namespace, value, mode, epoch)
  }

  /** A namespace, cut to what the target stands for of it. */
  whole(namespace: Namespace, mode: Mode, epoch: Epoch): void {
    const { namespaces } = this.#context.target
    const parts = matchesAny(namespace, namespaces)
      ? [namespace]
      : namespaces.filter((pattern) => isWithin(pattern, namespace))
    for (const part of parts) {
      if (!this.#addWhole(part, mode, epoch)) this.#allElseFailed("namespace", part, part, mode, epoch)
    }
  }

  everything(mode: Mode, epoch: Epoch): void {
    if (this.#mayEverything()) {
      this.#add("everything", "*", "*", undefined, mode, epoch)
      return
    }
    const parts = this.#ownNamespaces()
    this.#note(epoch, "namespaces")
    if (parts.length === 0) this.#impossibleFor("everything", "*", null, mode, epoch)
    for (const part of parts) {
      if (part === "*" ? !this.#addTerritory("*", mode, epoch) : !this.#addWhole(part, mode, epoch)) {
        this.#impossibleFor("namespace", part, part, mode, epoch)
      }
    }
  }

  widen(kind: Kind, namespace: Namespace, meant: string, mode: Mode, epoch: Epoch): void {
    this.#note(epoch, "namespace")
    if (!this.#addWhole(namespace, mode, epoch)) this.#allElseFailed(kind, namespace, meant, mode, epoch)
  }

  #unsupported(kind: Kind, namespace: Namespace, meant: string, mode: Mode, epoch: Epoch): void {
    if (this.#context.target.onUnsupported === "widen") this.widen(kind, namespace, meant, mode, epoch)
    else this.#impossibleFor(kind, meant, namespace, mode, epoch)
  }

  #allElseFailed(kind: Kind, namespace: Namespace, meant: string, mode: Mode, epoch: Epoch): void {
    if (this.#mayEverything()) {
      this.#note(epoch, "everything")
      this.#add("everything", "*", "*", namespace, mode, epoch)
    } else this.#impossibleFor(kind, meant, namespace, mode, epoch)
  }

  #impossibleFor(kind: Kind, meant: string, namespace: Namespace | null, mode: Mode, epoch: Epoch): void {
    const detail = `the target cannot purge by ${kind}, and nothing wider may stand for it`
    this.#impossible.push({ kind, meant, mode, namespace, epochs: [epoch], detail })
  }

  /** Says a whole namespace in the way that it is configured to be said, or else in any other that the target knows. */
  #addWhole(namespace: Namespace, mode: Mode, epoch: Epoch): boolean {
    if (this.#can("namespace")) {
      this.#add("namespace", namespace, namespace, namespace, mode, epoch)
      return true
    }
    const settings = this.#settingsOf(namespace)
    if (!settings) return false
    if (settings.wholeBy !== "tag" && this.#addTerritory(namespace, mode, epoch)) return true
    return this.#addNamespaceTag(namespace, mode, epoch) || this.#addTerritory(namespace, mode, epoch)
  }

  #addNamespaceTag(namespace: Namespace, mode: Mode, epoch: Epoch): boolean {
    if (!this.#can("tag")) return false
    // Responses carry the tag of each ancestor too, so one does; but under their own namespace's prefix.
    const family = [namespace, ...this.#declaredBelow(namespace)]
    const prefixes = new Set(family.map((name) => this.#settingsOf(name)?.tagPrefix ?? ""))
    const labels = [...prefixes].map((prefix) => this.#context.capabilities.tags.encode(prefix + namespaceTag(namespace)))
    if (labels.includes(undefined)) return false
    for (const label of labels) {
      this.#add("tag", label ?? "", namespaceTag(namespace), namespace, mode, epoch)
    }
    return true
  }

  /** By prefixes or hosts, its own and those of every namespace declared below it. */
  #addTerritory(namespace: Namespace, mode: Mode, epoch: Epoch): boolean {
    const ways = this.#wayOf(namespace)
    const below = this.#declaredBelow(namespace).map((name) => this.#wayOf(name))
    if (!ways || below.includes(undefined)) return false
    for (const way of [ways, ...below]) {
      for (const value of way?.values ?? []) this.#add(way?.kind ?? "host", value, value, namespace, mode, epoch)
    }
    return true
  }

  #wayOf(namespace: Namespace): { kind: "prefix" | "host"; values: readonly string[] } | undefined {
    const settings = this.#settingsOf(namespace)
    if (!settings) return undefined
    const ways = [
      { kind: "prefix", values: settings.prefixes },
      { kind: "host", values: settings.hosts },
    ] as const
    const ordered = settings.wholeBy === "host" ? ways.toReversed() : ways
    return ordered.find(({ kind, values }) => values.length > 0 && this.#can(kind))
  }

  #declaredBelow(namespace: Namespace): Namespace[] {
    const declared = Object.keys(declaredNamespaces(this.#context.config, this.#context.tenant))
    return declared.filter((name) => name !== "*" && name !== namespace && isWithin(name, namespace))
  }

  /** The outermost namespaces that the target stands for; `*` for those that are declared by it alone. */
  #ownNamespaces(): Namespace[] {
    const { config, tenant, target } = this.#context
    const declared = Object.keys(declaredNamespaces(config, tenant))
    const own = target.namespaces.flatMap((pattern) => (pattern === "*" ? declared : [pattern]))
    const distinct = [...new Set(own)]
    return distinct.filter(
      (name) => !distinct.some((other) => other !== name && other !== "*" && name !== "*" && isWithin(name, other)),
    )
  }

  #settingsOf(namespace: Namespace): NamespaceSettings | undefined {
    if (!this.#settings.has(namespace)) {
      this.#settings.set(namespace, findNamespace(this.#context.config, this.#context.tenant, namespace))
    }
    return this.#settings.get(namespace)
  }

  #label(namespace: Namespace, tag: string): string | undefined {
    return this.#context.capabilities.tags.encode((this.#settingsOf(namespace)?.tagPrefix ?? "") + tag)
  }

  #can(kind: Kind): boolean {
    return this.#context.capabilities.kinds[kind] !== undefined
  }

  #mayEverything(): boolean {
    return this.#context.target.allowEverything && this.#can("everything")
  }

  #add(kind: Kind, value: string, meant: string, namespace: Namespace | undefined, asked: Mode, epoch: Epoch): void {
    const modes = this.#context.capabilities.kinds[kind]?.modes
    const mode: Mode = modes?.includes(asked) ? asked : "purge"
    if (mode !== asked) this.#note(epoch, "purge")
    const key = `${kind}\n${value}`
    const item = this.#items.get(key)
    if (item) {
      item.mode = harder(item.mode, mode)
      item.epochs.add(epoch)
      if (namespace !== undefined) item.namespaces.add(namespace)
      return
    }
    const namespaces = new Set(namespace === undefined ? [] : [namespace])
    this.#items.set(key, { kind, value, meant, mode, namespaces, epochs: new Set([epoch]) })
  }

  #note(epoch: Epoch, what: string): void {
    const known = this.#as.get(epoch)
    if (known) known.add(what)
    else this.#as.set(epoch, new Set([what]))
  }

  finish(settling: readonly Epoch[]): Plan {
    this.#escalate()
    return {
      items: withoutCovered([...this.#items.values()]).map((item) => ({
        ...item,
        namespaces: [...item.namespaces],
        epochs: [...item.epochs],
      })),
      impossible: this.#impossible,
      settling,
      as: new Map([...this.#as].map(([epoch, what]) => [epoch, [...what].toSorted().join(", ")])),
    }
  }

  /** The user's own rule: above so many selectors, say something wider once. */
  #escalate(): void {
    const { escalate } = this.#context.target
    if (!escalate || this.#items.size <= escalate.selectors) return
    const narrow = [...this.#items.values()].filter((item) => item.kind !== "everything" && item.kind !== "namespace")
    const toEverything = escalate.to === "everything" && this.#mayEverything()
    for (const item of narrow) {
      this.#items.delete(`${item.kind}\n${item.value}`)
      for (const epoch of item.epochs) {
        this.#note(epoch, toEverything ? "everything" : "namespace")
        if (toEverything) this.#add("everything", "*", "*", undefined, item.mode, epoch)
        for (const namespace of toEverything ? [] : item.namespaces) {
          if (!this.#addWhole(namespace, item.mode, epoch)) this.#restore(item)
        }
      }
    }
  }

  #restore(item: Draft): void {
    this.#items.set(`${item.kind}\n${item.value}`, item)
  }
}

/**
 * Drops what something wider *and at least as hard* covers. Claimed only as far as it can be proven: a prefix or a
 * host over urls and prefixes below it; never over tags, as pages elsewhere may carry them.
 */
function withoutCovered(items: readonly Draft[]): Draft[] {
  const wide = items.filter(({ kind }) => kind === "everything" || kind === "prefix" || kind === "host" || kind === "namespace")
  return items.filter((item) => {
    const outer = wide.find((other) => other !== item && covers(other, item))
    // What becomes of the wider one becomes of all that it stands for.
    for (const epoch of outer ? item.epochs : []) outer?.epochs.add(epoch)
    return outer === undefined
  })
}

function covers(outer: Draft, item: Draft): boolean {
  if (item.mode === "purge" && outer.mode !== "purge") return false
  switch (outer.kind) {
    case "everything":
      return true
    case "prefix":
      return (item.kind === "url" || (item.kind === "prefix" && item.value !== outer.value)) && prefixCovers(outer.value, item.value)
    case "host":
      if (item.kind === "url" || item.kind === "prefix") return hostCoversUrl(outer.value, item.value)
      return item.kind === "host" && item.value !== outer.value && hostCovers(outer.value, item.value)
    case "namespace":
      // A receiver of our webhook takes the namespace by its name, with all that was published in it.
      return item.kind === "namespace"
        ? item.value !== outer.value && isWithin(item.value, outer.value)
        : item.namespaces.size > 0 && [...item.namespaces].every((name) => isWithin(name, outer.value))
    case "tag":
    case "url":
      return false
  }
}
