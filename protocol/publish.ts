import { findNamespace, type NamespaceSettings } from "./config/config.ts"
import type { Config } from "./config/schema.ts"
import type { Epoch, Generation } from "./epoch.ts"
import { askedTags } from "./freshness.ts"
import {
  compact,
  countSelectors,
  eachOnce,
  type EntryBody,
  type Invalidation,
  NO_SELECTORS,
  type PassKind,
  type Publisher,
} from "./invalidation.ts"
import {
  headKey,
  idempotencyKey,
  laterAfterKey,
  laterItemsKey,
  laterKey,
  logKey,
  namespaceKey,
  namespacesKey,
  taggedKey,
  tagsKey,
  wakeChannel,
} from "./keys.ts"
import { decodeBody, encodeBody } from "./log.ts"
import { ROOT } from "./namespace.ts"
import { publishScript } from "./scripts.gen.ts"
import { parseJson } from "./receipt.ts"
import { asNormal } from "./selector.ts"
import { asList, asText, type Store, StoreError } from "./store.ts"
import { DAY, type Milliseconds, type Microseconds, SECOND, type Seconds } from "./time.ts"

/** Most namespaces that a tenant may publish in: each has a row that never goes. */
export const MAX_NAMESPACES = 10_000

/** How long an answer is remembered under its idempotency key. */
export const REMEMBER: Seconds = DAY / SECOND

/** A later entry of the log that an entry brings about. */
export interface PassPlan {
  readonly kind: PassKind
  /** From the acceptance; of a second pass, from when the entry before it was handled everywhere. */
  readonly delay: Milliseconds
  readonly body: EntryBody
  /** A settle pass is itself followed by a second one. */
  readonly secondPass?: Milliseconds
}

/** One entry to append. */
export interface EntryPlan {
  readonly body: EntryBody
  readonly settings: Pick<NamespaceSettings, "maxCacheTtl" | "maxTags">
  readonly passes: readonly PassPlan[]
}

export interface Idempotency {
  /** Whose key it is: two publishers may use the same. */
  readonly principal: string
  readonly key: string
  readonly fingerprint: string
  readonly remember?: Seconds
}

export interface PublishRequest {
  readonly tenant: string
  /** 1 to 100; one atomic publish. */
  readonly entries: readonly EntryPlan[]
  readonly maxEntries: number
  readonly idempotency?: Idempotency
  /** Refused where there would be more. Default: any number, as of namespaces that the configuration names. */
  readonly maxNamespaces?: number
  /** Set when a pass is carried out: its id, and the epoch that further passes are named after. */
  readonly pass?: { readonly id: string; readonly origin: Epoch }
  /** Microseconds since 1970, instead of the server's clock: where a store has none, and in tests. */
  readonly clock?: Microseconds
}

/** What became of a publish. */
export type PublishOutcome =
  | {
      readonly status: "accepted" | "duplicate"
      readonly generation: Generation
      readonly entries: readonly { readonly epoch: Epoch; readonly seq: number }[]
    }
  | { readonly status: "reused" }
  | { readonly status: "tooManyNamespaces" }

/** Which of its publisher's defaults an invalidation falls back to. */
export interface PassDefaults {
  readonly settle: Milliseconds
  readonly secondPass: Milliseconds
}

/** Turns an invalidation into the entry that the log gets, each selector once, with the passes that follow it. */
export function planEntry(
  invalidation: Invalidation,
  settings: Pick<NamespaceSettings, "maxCacheTtl" | "maxTags" | "settle" | "secondPass">,
  by: Publisher,
  defaults: PassDefaults,
  trace?: string,
): EntryPlan {
  const { staleFor, settle: askedSettle, secondPass: askedSecond, ...told } = invalidation
  const settle = askedSettle ?? settings.settle ?? defaults.settle
  const secondPass = askedSecond ?? settings.secondPass ?? defaults.secondPass
  const body: EntryBody = { kind: "invalidation", ...eachOnce(told), by, ...compact({ trace }) }
  const passes: PassPlan[] = []
  if (settle > 0)
    passes.push({ kind: "settle", delay: settle, body, ...(secondPass > 0 ? { secondPass } : {}) })
  else if (secondPass > 0) passes.push({ kind: "second", delay: secondPass, body })
  if (staleFor !== undefined && staleFor > 0)
    passes.push({ kind: "stale", delay: staleFor, body: { ...body, mode: "purge" } })
  return { body: settle > 0 ? { ...body, settling: true } : body, settings, passes }
}

/** Everything, or a namespace's settings. Undefined: it is not declared. */
export function settingsFor(
  config: Config,
  tenant: string,
  invalidation: Invalidation,
): NamespaceSettings | undefined {
  if (invalidation.namespace !== null) return findNamespace(config, tenant, invalidation.namespace)
  return {
    hosts: [],
    prefixes: [],
    maxCacheTtl: 30 * DAY,
    maxTags: 1,
    wholeBy: "tag",
    tagPrefix: "",
    overflowTag: false,
    settle: undefined,
    secondPass: undefined,
  }
}

/** What an entry raises beside its tags: prefixes and hosts the namespace, as no reader can ask for them. */
export function raises(body: EntryBody): "tags" | "namespace" | "everything" {
  if (body.namespace === null) return "everything"
  return body.prefixes.length > 0 || body.hosts.length > 0 || countSelectors(body) === 0
    ? "namespace"
    : "tags"
}

const micro = (length: Milliseconds): string => String(length * 1000)

/** A pass as `later:items` holds it. */
export interface StoredPass {
  readonly delay: Milliseconds
  /** With the selectors of the entry that it follows, unless it stands in for those. */
  readonly body: EntryBody
  readonly secondPass?: Milliseconds
  /**
   * Whether the selectors are to be had from the entry that it follows, and are not kept a second and a third time. Where
   * that entry is gone, the body stands for them: it is the same of the namespace as a whole.
   */
  readonly isStandIn?: true
}

function encodePass({ delay, body: { kind, namespace, mode, by }, secondPass }: PassPlan): string {
  const standIn: EntryBody = { kind, namespace, mode, by, ...NO_SELECTORS }
  return `${JSON.stringify(compact({ delay, secondPass, isStandIn: true }))}\n${encodeBody(standIn)}`
}

/** Reads a pass as `publish` stored it; undefined for anything else. */
export function parsePass(text: string): StoredPass | undefined {
  const line = text.indexOf("\n")
  const meta = parseJson<Partial<Record<keyof StoredPass, unknown>>>(text.slice(0, line))
  if (line < 0 || typeof meta?.delay !== "number") return undefined
  const { delay, secondPass, isStandIn } = meta
  return {
    delay,
    body: decodeBody(text.slice(line + 1)),
    ...(typeof secondPass === "number" ? { secondPass } : {}),
    ...(isStandIn === true ? { isStandIn } : {}),
  }
}

/** What a pass is called, in `later` and under the idempotency key of the entry that it becomes. */
export const passId = (origin: Epoch, kind: PassKind): string => `${origin}:${kind}`

/** The principal under which the relays remember what they published. */
export const RELAY_PRINCIPAL = "relay"

/**
 * Appends entries to a tenant's log, raises their epochs, remembers the answer and wakes whoever listens: one script,
 * one round trip, all or nothing.
 *
 * @throws {StoreError} `unreachable` says nothing of what was written: repeat it under the same idempotency key
 */
export async function publish(store: Store, request: PublishRequest): Promise<PublishOutcome> {
  const { tenant, entries, idempotency, pass } = request
  const keys = [
    headKey(tenant),
    logKey(tenant),
    namespaceKey(tenant, ROOT),
    idempotencyKey(tenant, idempotency?.principal ?? "-", idempotency?.key ?? "-"),
    laterKey(tenant),
    laterItemsKey(tenant),
    laterAfterKey(tenant),
    namespacesKey(tenant),
    taggedKey(tenant),
  ]
  const args = [
    idempotency?.fingerprint ?? "",
    String(idempotency?.remember ?? REMEMBER),
    request.clock === undefined ? "" : String(request.clock),
    String(request.maxEntries),
    pass?.id ?? "",
    String(request.maxNamespaces ?? 0),
    String(entries.length),
  ]
  for (const { body, settings, passes } of entries) {
    const namespace = body.namespace ?? ROOT
    // The log has urls as they were spelled; what is judged at request time has one form of each.
    const asked = askedTags({ tags: body.tags, urls: body.urls.map(asNormal) })
    const tags = body.namespace === null ? [] : [...new Set(asked)]
    keys.push(namespaceKey(tenant, namespace), tagsKey(tenant, namespace))
    args.push(
      encodeBody(body),
      wakeChannel(tenant, namespace),
      raises(body),
      body.mode,
      micro(settings.maxCacheTtl),
      String(settings.maxTags),
      pass ? String(pass.origin) : "",
      String(passes.length),
      ...passes.flatMap((plan) => [plan.kind, micro(plan.delay), encodePass(plan)]),
      String(tags.length),
      ...tags,
    )
  }
  return readOutcome(asList(await store.script(publishScript, keys, args)).map((part) => asText(part) ?? ""))
}

function readOutcome([status, told = ""]: readonly string[]): PublishOutcome {
  if (status === "reused") return { status }
  if (status === "tooMany") return { status: "tooManyNamespaces" }
  const [generation, ...pairs] = told.split(" ")
  const entries = pairs.map((pair) => {
    const [epoch, seq] = pair.split(":")
    return { epoch: Number(epoch), seq: Number(seq) }
  })
  if ((status !== "ok" && status !== "dup") || entries.length === 0) {
    throw new StoreError("refused", "the publish script answered something else than it is written to")
  }
  return { status: status === "ok" ? "accepted" : "duplicate", generation: Number(generation), entries }
}
