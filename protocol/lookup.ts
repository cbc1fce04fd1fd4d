import { type Epoch, formatStamp, type Generation, parseHead } from "./epoch.ts"
import type { NamespaceEpochs } from "./freshness.ts"
import { headKey, namespaceKey, tagsKey } from "./keys.ts"
import { chain, type Namespace } from "./namespace.ts"
import { URL_TAG } from "./selector.ts"
import { asList, asText, type Command, type Reply } from "./store.ts"
import type { Milliseconds } from "./time.ts"

/** What is asked of a namespace. */
export interface Asked {
  readonly tags: readonly string[]
  readonly urls: readonly string[]
}

export type LookupRequest = ReadonlyMap<Namespace, Asked>

/** A look-up's answer. */
export interface Lookup {
  readonly tenant: string
  /** 0 while there is no log: nothing was ever published, and nothing is fresh. */
  readonly generation: Generation
  /** Without a log `asOf` in microseconds: the one that begins comes later, and no observer sees an epoch fall. */
  readonly last: Epoch
  /** When the store was asked: what every layer above counts freshness from. */
  readonly asOf: Milliseconds
  readonly namespaces: ReadonlyMap<Namespace, NamespaceEpochs>
  /** What `changed` counts from, as it was asked. */
  readonly after?: Epoch
  /** Per asked namespace, what changed since `after`; null where that is not known, or is too much. */
  readonly changed?: ReadonlyMap<Namespace, ReadonlyMap<string, Epoch> | null>
}

/** More changes than this are answered as null: the asker drops all it holds. */
export const MAX_CHANGED = 1_000

interface Row {
  readonly epoch: Epoch
  readonly watermark: Epoch
  readonly hard: Epoch
  readonly floor: Epoch
}

const EMPTY: Row = { epoch: 0, watermark: 0, hard: 0, floor: 0 }

export function parseNamespaceRow(text: string | undefined): Row {
  const match = /^(\d+) (\d+) (\d+) (\d+)$/.exec(text ?? "")
  if (!match) return EMPTY
  return {
    epoch: Number(match[1]),
    watermark: Number(match[2]),
    hard: Number(match[3]),
    floor: Number(match[4]),
  }
}

/**
 * The commands of a look-up, for one pipeline. The order matters: tags are read with or after the watermark, never
 * before, or an invalidation in between would show in neither; and floors once more after the tags, or a tag that was
 * dropped in between would count as the floor of before.
 */
export function lookupCommands(tenant: string, request: LookupRequest, after?: Epoch): Command[] {
  const rows = rowsOf(request)
  const commands: Command[] = [
    ["MGET", headKey(tenant), ...rows.map((namespace) => namespaceKey(tenant, namespace))],
  ]
  for (const [namespace, { tags, urls }] of request) {
    const members = [...tags, ...urls.map((url) => URL_TAG + url)]
    if (members.length > 0) commands.push(["ZMSCORE", tagsKey(tenant, namespace), ...members])
    if (after !== undefined) {
      const limit = String(MAX_CHANGED + 1)
      commands.push([
        "ZRANGEBYSCORE",
        tagsKey(tenant, namespace),
        `(${after}`,
        "+inf",
        "WITHSCORES",
        "LIMIT",
        "0",
        limit,
      ])
    }
  }
  if (commands.length > 1)
    commands.push(["MGET", ...Array.from(request.keys(), (namespace) => namespaceKey(tenant, namespace))])
  return commands
}

const rowsOf = (request: LookupRequest): Namespace[] => [
  ...new Set([...request.keys()].flatMap((name) => chain(name))),
]

/** Reads the replies to `lookupCommands`, given the same request. */
export function readLookup(
  tenant: string,
  request: LookupRequest,
  replies: readonly Reply[],
  asOf: Milliseconds,
  after?: Epoch,
): Lookup {
  const [first, ...rest] = replies
  const [headText, ...rowTexts] = asList(first)
  const head = parseHead(asText(headText))
  const rows = new Map(
    rowsOf(request).map((name, index) => [name, parseNamespaceRow(asText(rowTexts[index]))]),
  )
  const lateTexts = asList(rest.at(-1))
  const namespaces = new Map<Namespace, NamespaceEpochs>()
  const changed = new Map<Namespace, ReadonlyMap<string, Epoch> | null>()
  let next = 0
  for (const [index, [namespace, { tags, urls }]] of [...request].entries()) {
    const folded = chain(namespace).map((name) => rows.get(name) ?? EMPTY)
    const own = rows.get(namespace) ?? EMPTY
    const epoch = Math.max(...folded.map((row) => row.epoch))
    const floor = Math.max(own.floor, parseNamespaceRow(asText(lateTexts[index])).floor)
    const members = [...tags, ...urls.map((url) => URL_TAG + url)]
    const scores = members.length > 0 ? asList(rest[next++]) : []
    namespaces.set(namespace, {
      epoch,
      watermark: Math.max(own.watermark, epoch),
      hard: Math.max(...folded.map((row) => row.hard)),
      floor,
      tags: new Map(members.flatMap((tag, nth) => withScore(tag, scores[nth]))),
    })
    if (after !== undefined)
      changed.set(namespace, readChanged(asList(rest[next++]), after, floor, head?.generation))
  }
  return {
    tenant,
    generation: head?.generation ?? 0,
    last: head?.epoch ?? Math.floor(asOf * 1_000),
    asOf,
    namespaces,
    ...(after === undefined ? {} : { after, changed }),
  }
}

const withScore = (tag: string, score: Reply | undefined): [string, Epoch][] => {
  const text = asText(score)
  return text === undefined ? [] : [[tag, Number(text)]]
}

function readChanged(
  flat: readonly Reply[],
  after: Epoch,
  floor: Epoch,
  generation: Generation | undefined,
): ReadonlyMap<string, Epoch> | null {
  // Below the floor tags were dropped, and before the generation there is no history: neither can be told singly.
  if (after < floor || after < (generation ?? 0) || flat.length > 2 * MAX_CHANGED) return null
  const found = new Map<string, Epoch>()
  for (let index = 0; index + 1 < flat.length; index += 2) {
    const tag = asText(flat[index])
    if (tag !== undefined) found.set(tag, Number(asText(flat[index + 1])))
  }
  return found
}

/** The answer as `/v1/epochs` writes it. */
export function lookupJson(lookup: Lookup): Record<string, unknown> {
  const namespaces = Object.fromEntries(
    [...lookup.namespaces].map(([name, { tags, ...row }]) => {
      const split = (isUrl: boolean) =>
        Object.fromEntries(
          [...tags]
            .filter(([tag]) => tag.startsWith(URL_TAG) === isUrl)
            .map(([tag, epoch]) => [isUrl ? tag.slice(URL_TAG.length) : tag, epoch]),
        )
      return [name, { ...row, tags: split(false), urls: split(true) }]
    }),
  )
  return {
    tenant: lookup.tenant,
    generation: lookup.generation,
    last: lookup.last,
    stamp: formatStamp({ generation: lookup.generation, epoch: lookup.last }),
    asOf: lookup.asOf,
    namespaces,
    ...(lookup.changed
      ? {
          after: lookup.after,
          changed: Object.fromEntries(
            [...lookup.changed].map(([name, tags]) => [name, tags && Object.fromEntries(tags)]),
          ),
        }
      : {}),
  }
}

/** Reads `lookupJson` back, as a client does. Undefined when it is not such an answer. */
export function parseLookupJson(body: unknown): Lookup | undefined {
  if (!isRecord(body) || !isRecord(body.namespaces)) return undefined
  const { tenant, generation, last, asOf } = body
  if (typeof tenant !== "string" || ![generation, last, asOf].every((value) => Number.isFinite(value)))
    return undefined
  const namespaces = new Map<Namespace, NamespaceEpochs>()
  for (const [name, row] of Object.entries(body.namespaces)) {
    if (!isRecord(row) || !["epoch", "watermark", "hard", "floor"].every((key) => Number.isFinite(row[key])))
      return undefined
    namespaces.set(name, {
      epoch: Number(row.epoch),
      watermark: Number(row.watermark),
      hard: Number(row.hard),
      floor: Number(row.floor),
      tags: new Map([
        ...epochsOf(row.tags),
        ...epochsOf(row.urls).map(([url, epoch]): [string, Epoch] => [URL_TAG + url, epoch]),
      ]),
    })
  }
  const changed = isRecord(body.changed)
    ? new Map(
        Object.entries(body.changed).map(([name, tags]) => [
          name,
          tags === null ? null : new Map(epochsOf(tags)),
        ]),
      )
    : undefined
  return {
    tenant,
    generation: Number(generation),
    last: Number(last),
    asOf: Number(asOf),
    namespaces,
    ...(Number.isFinite(body.after) ? { after: Number(body.after) } : {}),
    ...(changed ? { changed } : {}),
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  value !== null && typeof value === "object"

const epochsOf = (value: unknown): [string, Epoch][] =>
  isRecord(value)
    ? Object.entries(value).filter((member): member is [string, Epoch] => Number.isFinite(member[1]))
    : []
