import * as z from "zod/mini"
import { type Fault, pointer } from "./errors.ts"
import type { Epoch } from "./epoch.ts"
import type { Namespace } from "./namespace.ts"
import { checked, duration, namespaceName } from "./schema.ts"
import { checkHost, checkPrefix, checkTag, checkUrl } from "./selector.ts"
import { HOUR, type Milliseconds } from "./time.ts"

/** soft: mark stale, may be served while revalidated / hard: never served again. */
export type Mode = "invalidate" | "purge"

/** The lists of selectors, in the order in which every answer shows them. */
export const SELECTOR_LISTS = ["tags", "urls", "prefixes", "hosts"] as const
export type SelectorList = (typeof SELECTOR_LISTS)[number]
export type Selectors = Readonly<Record<SelectorList, readonly string[]>>

export const NO_SELECTORS: Selectors = { tags: [], urls: [], prefixes: [], hosts: [] }

export const MAX_SELECTORS = 1_000
export const MAX_BATCH = 100
export const MAX_BODY_BYTES = 256 * 1024
export const MAX_HOOK_BODY_BYTES = 5 * 1024 * 1024
const MAX_REASON = 200
const MAX_PASS: Milliseconds = 24 * HOUR

const list = (item: ReturnType<typeof checked>) =>
  z.optional(z.array(item).check(z.minLength(1, { error: "must not be empty: leave it out instead" })))

const entityText = z.string().check(z.minLength(1), z.maxLength(255))
const textOrNumber = z.union([entityText, z.number()], {
  error: "must be a number, or a text of 1 to 255 characters",
})

export const invalidationBody = z.strictObject({
  namespace: z.optional(namespaceName),
  tags: list(checked(checkTag)),
  urls: list(checked(checkUrl)),
  prefixes: list(checked(checkPrefix)),
  hosts: list(checked(checkHost)),
  everything: z.optional(z.boolean()),
  mode: z._default(z.enum(["invalidate", "purge"]), "invalidate"),
  staleFor: z.optional(duration(MAX_PASS)),
  settle: z.optional(duration(MAX_PASS)),
  secondPass: z.optional(duration(MAX_PASS)),
  entity: z.optional(
    z.strictObject({
      type: z.optional(entityText),
      id: z.optional(textOrNumber),
      version: z.optional(textOrNumber),
    }),
  ),
  reason: z.optional(z.string().check(z.maxLength(MAX_REASON))),
})

/** What may be sent to `POST /v1/invalidations`, before normalisation. */
export type InvalidationInput = z.input<typeof invalidationBody>

/** A thing the publisher tells about, kept with the record and never judged. */
export type Entity = NonNullable<z.output<typeof invalidationBody>["entity"]>

/**
 * An invalidation that was read and normalised; not yet held against a configuration. Its lists are as they were sent,
 * so that a fault can say where it is.
 */
export interface Invalidation extends Selectors {
  /** null: every namespace of the tenant (`everything`). */
  readonly namespace: Namespace | null
  readonly mode: Mode
  readonly staleFor?: Milliseconds
  readonly settle?: Milliseconds
  readonly secondPass?: Milliseconds
  readonly entity?: Entity
  readonly reason?: string
  /** Of a delivery: why it came to more, or to less, than its rules say. A few lines, of what the source was told. */
  readonly notes?: readonly string[]
}

/** Who published: the one member that is set names it. */
export type Publisher = { readonly token: string } | { readonly source: string } | { readonly relay: string }

/** What kind of later entry of the log a pass is. */
export type PassKind = "settle" | "second" | "stale"

/** What a log entry says: written by publishing, read by lanes, records and pages. */
export interface EntryBody extends Selectors {
  readonly kind: "invalidation" | "resync"
  readonly namespace: Namespace | null
  readonly mode: Mode
  readonly by: Publisher
  readonly entity?: Entity
  readonly reason?: string
  readonly notes?: readonly string[]
  readonly trace?: string
  /** Targets skip this entry: its settle pass follows and is what purges. */
  readonly settling?: true
  /** This entry is a later pass of an earlier one. */
  readonly pass?: { readonly kind: PassKind; readonly of: Epoch }
  /** Why a resync was needed. */
  readonly cause?: string
}

export type Parsed<T> = { readonly value: T } | { readonly errors: readonly Fault[] }

export const hasSelectors = (selectors: Selectors): boolean => countSelectors(selectors) > 0

export const countSelectors = ({ tags, urls, prefixes, hosts }: Selectors): number =>
  tags.length + urls.length + prefixes.length + hosts.length

/** Selectors as *asked*, before duplicates are dropped and before any is judged: what a limit is counted by. */
export function countAsked(body: unknown): number {
  if (body === null || typeof body !== "object") return 0
  const lists = SELECTOR_LISTS.map((name) => (body as Partial<Record<SelectorList, unknown>>)[name])
  return lists.reduce<number>((sum, value) => sum + (Array.isArray(value) ? value.length : 0), 0)
}

/** The same selectors, each once. */
export const eachOnce = <T extends Selectors>(selectors: T): T => ({
  ...selectors,
  ...Object.fromEntries(SELECTOR_LISTS.map((name) => [name, [...new Set(selectors[name])]])),
})

/** Drops members that are undefined, so that optional ones are absent and not merely empty. */
export function compact<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const kept = Object.entries(value).filter(([, member]) => member !== undefined)
  return Object.fromEntries(kept) as { [K in keyof T]: Exclude<T[K], undefined> }
}

/** Reads one invalidation of a request; every fault at once, each with its pointer below `at`. */
export function parseInvalidation(body: unknown, at: readonly PropertyKey[] = []): Parsed<Invalidation> {
  if (body === null || typeof body !== "object" || Array.isArray(body)) {
    return { errors: [{ pointer: pointer(at), detail: "must be an object" }] }
  }
  const read = invalidationBody.safeParse(body)
  const errors = read.success ? [] : faults(read.error.issues, at)
  errors.push(...crossFaults(body, at))
  if (!read.success || errors.length > 0) return { errors }
  const { namespace, everything, mode, staleFor, settle, secondPass, entity, reason, ...lists } = read.data
  return {
    value: {
      namespace: everything ? null : (namespace ?? null),
      tags: lists.tags ?? [],
      urls: lists.urls ?? [],
      prefixes: lists.prefixes ?? [],
      hosts: lists.hosts ?? [],
      mode,
      ...compact({ staleFor, settle, secondPass, entity, reason }),
    },
  }
}

/** Members that do not go together, judged as they were sent: told in one breath with what is wrong in each. */
function* crossFaults(body: Partial<Record<string, unknown>>, at: readonly PropertyKey[]): Generator<Fault> {
  const fault = (member: string, detail: string): Fault => ({ pointer: pointer([...at, member]), detail })
  if (body["everything"] === true) {
    if (body["namespace"] !== undefined) {
      yield fault("namespace", "must not be given with everything, which means every namespace")
    }
    for (const name of SELECTOR_LISTS) {
      if (body[name] !== undefined) yield fault(name, "must not be given with everything")
    }
  } else if (body["namespace"] === undefined) {
    yield fault("namespace", "is required, unless everything is true")
  }
  if (body["mode"] === "purge" && body["staleFor"] !== undefined) {
    yield fault("staleFor", "goes with mode invalidate only")
  }
}

interface Issue {
  readonly code?: string | undefined
  readonly message: string
  readonly path: readonly PropertyKey[]
  readonly keys?: readonly string[]
  readonly issues?: readonly { readonly message: string }[]
}

/** zod's issues as faults; an unknown member is named by its own path, not by its parent's. */
export function faults(issues: readonly unknown[], at: readonly PropertyKey[] = []): Fault[] {
  return (issues as readonly Issue[]).flatMap((issue) => {
    if (issue.code === "unrecognized_keys" && issue.keys) {
      return issue.keys.map((key) => ({
        pointer: pointer([...at, ...issue.path, key]),
        detail: "is not a known member",
      }))
    }
    // Of a record's key, zod says what is wrong with it one level down.
    const detail =
      issue.code === "invalid_key" ? (issue.issues?.[0]?.message ?? issue.message) : issue.message
    return [{ pointer: pointer([...at, ...issue.path]), detail }]
  })
}
