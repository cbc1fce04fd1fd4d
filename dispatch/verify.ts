import type { Config, TargetConfig } from "../protocol/config/schema.ts"
import { findNamespace } from "../protocol/config/config.ts"
import { concerns } from "../protocol/concern.ts"
import { type Epoch, epochToMs } from "../protocol/epoch.ts"
import { type EntryBody, hasSelectors, type Mode } from "../protocol/invalidation.ts"
import { dueItemsKey, dueKey, seenKey, verifiedKey, verifyKey } from "../protocol/keys.ts"
import { type DueItem, encodeOwed } from "../protocol/letter.ts"
import type { LogEntry } from "../protocol/log.ts"
import { isNamespace } from "../protocol/namespace.ts"
import { parseJson } from "../protocol/receipt.ts"
import { findEntry } from "../protocol/record.ts"
import { labelledNamespaces } from "../protocol/tag-rules.ts"
import { asList, asText, type Store } from "../protocol/store.ts"
import { HOUR, type Milliseconds, SECOND } from "../protocol/time.ts"
import type { Clock } from "./clock.ts"

/**
 * Whether what was purged is gone: after a purge a few of its urls are fetched, as a visitor would, and what the cache
 * in front says of its copy is held against when the invalidation was accepted. It is a sample, for people and for one
 * more purge; nothing waits for it.
 */

/** What a cache's answer says of the copy that it served. */
export type Verdict = "fresh" | "stale" | "unknown"

/** What was seen of one url. */
export interface Verified {
  readonly epoch: Epoch
  readonly url: string
  readonly verdict: Verdict
  /** What the cache said of itself, or why nothing is known. */
  readonly detail: string
}

export interface VerifierOptions {
  readonly tenant: string
  readonly target: string
  /** The lanes of the target, by which it is purged once more. */
  readonly lanes: () => readonly string[]
  readonly config: Config
  readonly targetConfig: TargetConfig & { readonly verify: NonNullable<TargetConfig["verify"]> }
  /** As the vendor publishes it: nothing is looked at sooner. */
  readonly propagation: Milliseconds | undefined
  readonly store: Store
  readonly clock: Clock
  /** Refuses addresses that no visitor could reach, and follows no redirect. */
  readonly fetch: typeof fetch
  readonly onVerdict: (told: Verified) => void
  /** One more purge is due. */
  readonly onAgain: () => void
}

/** One invalidation to look after, as Redis holds it. */
interface Probe {
  readonly epoch: Epoch
  readonly mode: Mode
  readonly urls: readonly string[]
  /** 1, and 2 after one more purge. */
  readonly nth: number
}

/** Ours, where a vendor publishes nothing; and the least. */
const DELAY: Milliseconds = 2 * SECOND
const TIMEOUT: Milliseconds = 5 * SECOND
/** Ours: nothing of the body is of use, and a connection is only used again when it was read. */
const MAX_BODY_BYTES = 64 * 1024
/** `Age` is in whole seconds. */
const AGE_GRAIN: Milliseconds = SECOND

export class Verifier {
  readonly #options: VerifierOptions
  readonly #closing = new AbortController()
  #alarm = new AbortController()
  #running: Promise<void> | undefined
  #isNudged = false
  /** Namespaces that were noted already. */
  readonly #seen = new Set<string>()

  constructor(options: VerifierOptions) {
    this.#options = options
  }

  /** Something may be due. Never throws: where the store does not answer, the next nudge finds it. */
  nudge(): void {
    this.#isNudged = true
    if (this.#running || this.#closing.signal.aborted) return
    this.#running = this.#loop().finally(() => {
      this.#running = undefined
      if (this.#isNudged) this.nudge()
    })
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#alarm.abort()
    await this.#running
  }

  async #loop(): Promise<void> {
    this.#isNudged = false
    const next = await this.run(this.#closing.signal).catch(() => undefined)
    this.#alarm.abort()
    if (next === undefined || this.#closing.signal.aborted) return
    const alarm = (this.#alarm = new AbortController())
    const { clock } = this.#options
    void clock.sleep(Math.min(Math.max(0, next - clock.now()), HOUR), alarm.signal).then(() => {
      if (!alarm.signal.aborted) this.nudge()
    })
  }

  /** Notes what is to be looked at of entries that were purged just now. @throws {StoreError} */
  async watch(entries: readonly LogEntry[]): Promise<void> {
    const probes = this.#sampleOf(entries)
    if (probes.length === 0) return
    await this.#schedule(probes)
    this.nudge()
  }

  /** Looks at what is due. When the next is, in ms since 1970; undefined where nothing waits. @throws {StoreError} */
  async run(signal: AbortSignal): Promise<Milliseconds | undefined> {
    const { store, clock, tenant, target } = this.#options
    const key = verifyKey(tenant, target)
    for (;;) {
      const [due, first] = await store.pipeline([
        ["ZRANGEBYSCORE", key, "-inf", String(Math.floor(clock.now())), "LIMIT", "0", "1"],
        ["ZRANGE", key, "0", "0", "WITHSCORES"],
      ])
      const text = asText(asList(due)[0])
      if (text === undefined || signal.aborted) {
        const next = asText(asList(first)[1])
        return next === undefined ? undefined : Number(next)
      }
      // Whoever takes it out looks at it: another relay may have seen it too.
      const [count] = await store.pipeline([["ZREM", key, text]])
      const probe = parseJson<Probe>(text)
      if (count === 1 && probe) await this.#look(probe, signal)
    }
  }

  /** The newest first: of those a visitor is served soonest. */
  #sampleOf(entries: readonly LogEntry[]): Probe[] {
    const { config, tenant, targetConfig } = this.#options
    const { origins, sample } = targetConfig.verify
    let left = sample
    return entries.toReversed().flatMap(({ epoch, body }): Probe[] => {
      if (left === 0 || body.settling || body.kind === "resync") return []
      if (!concerns(body, targetConfig.namespaces)) return []
      const urls = pagesOf(body, tenant, config)
        .filter((url) => origins.includes(new URL(url).origin))
        .slice(0, left)
      left -= urls.length
      return urls.length === 0 ? [] : [{ epoch, mode: body.mode, urls, nth: 1 }]
    })
  }

  async #schedule(probes: readonly Probe[]): Promise<void> {
    const { store, clock, tenant, target, propagation = 0 } = this.#options
    const at = String(Math.ceil(clock.now() + Math.max(DELAY, propagation)))
    const members = probes.flatMap((probe) => [at, JSON.stringify(probe)])
    await store.pipeline([["ZADD", verifyKey(tenant, target), ...members]])
  }

  async #look(probe: Probe, signal: AbortSignal): Promise<void> {
    const { onVerdict, clock } = this.#options
    const { epoch, mode, urls, nth } = probe
    const verdicts: Verdict[] = []
    for (const url of urls) {
      const { verdict, detail } = await this.#ask(url, { mode, acceptedAt: epochToMs(epoch) }, signal)
      // What was cut off says nothing, and is not looked at again: it is a sample.
      if (signal.aborted) return
      onVerdict({ epoch, url, verdict, detail })
      verdicts.push(verdict)
    }
    if (verdicts.includes("stale")) {
      await this.#note(epoch, "stale", clock.now())
      if (nth === 1) await this.#again(probe)
    } else if (verdicts.includes("fresh")) await this.#note(epoch, "fresh", clock.now())
  }

  async #ask(
    url: string,
    about: { readonly mode: Mode; readonly acceptedAt: Milliseconds },
    signal: AbortSignal,
  ): Promise<{ readonly verdict: Verdict; readonly detail: string }> {
    const { fetch, clock } = this.#options
    try {
      const response = await fetch(url, {
        redirect: "manual",
        credentials: "omit",
        headers: { "user-agent": "tidemark-verify" },
        signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT)]),
      })
      await drain(response.body)
      await this.#see(response.headers)
      if (response.status >= 300 && response.status < 400) {
        return { verdict: "unknown", detail: `it answered ${response.status}, which is not followed` }
      }
      return judge(response.headers, { ...about, now: clock.now() })
    } catch (error) {
      const code = error instanceof Error && error.cause instanceof Error ? error.cause.message : ""
      return { verdict: "unknown", detail: `no answer${code === "" ? "" : `: ${code}`}`.slice(0, 200) }
    }
  }

  /** That pages carry the tag of their namespace is what some targets rely on, and nobody else can tell. */
  async #see(headers: Headers): Promise<void> {
    const { store, tenant, clock } = this.#options
    const seen = labelledNamespaces(headers).filter((name) => !this.#seen.has(name) && isNamespace(name))
    if (seen.length === 0) return
    await store.pipeline([["HSET", seenKey(tenant), ...seen.flatMap((name) => [name, String(clock.now())])]])
    for (const name of seen) this.#seen.add(name)
  }

  async #note(epoch: Epoch, verdict: "fresh" | "stale", now: Milliseconds): Promise<void> {
    const { store, tenant, target, config } = this.#options
    const key = verifiedKey(tenant, target)
    const keepFrom = Math.max(0, Math.floor((now - config.log.keep) * 1000))
    await store.pipeline([
      ["ZREMRANGEBYSCORE", key, String(epoch), String(epoch)],
      ["ZADD", key, String(epoch), `${epoch} ${verdict}`],
      ["ZREMRANGEBYSCORE", key, "-inf", String(keepFrom)],
    ])
  }

  /** The same once more, by the target's lane, and looked at again after that. */
  async #again(probe: Probe): Promise<void> {
    const { store, clock, tenant, lanes, onAgain } = this.#options
    const entry = await findEntry(store, tenant, probe.epoch)
    if (!entry) return
    const { namespace, mode, tags, urls, prefixes, hosts } = entry.body
    const item: DueItem = {
      why: "again",
      namespace,
      mode,
      epochs: [probe.epoch],
      tags,
      urls,
      prefixes,
      hosts,
    }
    const id = `again:${probe.epoch}`
    // In this order: an item without a text is read as everything.
    const commands = lanes().flatMap((lane) => [
      ["HSET", dueItemsKey(tenant, lane), id, encodeOwed(item)],
      ["ZADD", dueKey(tenant, lane), String(Math.floor(clock.now())), id],
    ])
    if (commands.length > 0) await store.pipeline(commands)
    await this.#schedule([{ ...probe, nth: probe.nth + 1 }])
    onAgain()
  }
}

/** Pages that an invalidation is about, as far as it names any. */
function pagesOf(body: EntryBody, tenant: string, config: Config): string[] {
  const hostPages = (hosts: readonly string[]) => hosts.map((host) => `https://${host}/`)
  if (body.namespace === null) return []
  if (hasSelectors(body)) return [...body.urls, ...body.prefixes, ...hostPages(body.hosts)]
  const settings = findNamespace(config, tenant, body.namespace)
  return [...(settings?.prefixes ?? []), ...hostPages(settings?.hosts ?? [])]
}

async function drain(body: ReadableStream<Uint8Array> | null): Promise<void> {
  const reader = body?.getReader()
  let size = 0
  for (;;) {
    const read = await reader?.read()
    if (!read || read.done) return
    size += read.value.length
    if (size > MAX_BODY_BYTES) {
      await reader?.cancel()
      return
    }
  }
}

type How = "hit" | "revalidated" | "stale" | "fetched"

/**
 * What a cache says of itself. Each vendor has a header and words of its own; where a request went through several
 * caches the last one is nearest to the visitor.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9211 Cache-Status
 * @see https://developers.cloudflare.com/cache/concepts/cache-responses/
 * @see https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/standard-logs-reference.html
 */
const STATUS_HEADERS = [
  "cf-cache-status",
  "x-vercel-cache",
  "x-nextjs-cache",
  "cache-status",
  "x-cache",
] as const

const WORDS: readonly (readonly [RegExp, How])[] = [
  [/refresh_?hit|revalidated/i, "revalidated"],
  [/stale|updating|fwd=stale/i, "stale"],
  [/\bhit\b|_hit\b/i, "hit"],
  [/miss|expired|bypass|dynamic|pass|fwd|none\/unknown/i, "fetched"],
]

function howOf(headers: Headers): How | undefined {
  for (const name of STATUS_HEADERS) {
    const last = headers.get(name)?.split(",").at(-1) ?? ""
    const word = WORDS.find(([form]) => form.test(last))
    if (word) return word[1]
  }
  return undefined
}

/** What an answer says, where the invalidation was accepted at some time. */
export function judge(
  headers: Headers,
  {
    acceptedAt,
    now,
    mode,
  }: { readonly acceptedAt: Milliseconds; readonly now: Milliseconds; readonly mode: Mode },
): { readonly verdict: Verdict; readonly detail: string } {
  const how = howOf(headers)
  const age = /^\d{1,10}$/.exec(headers.get("age")?.trim() ?? "")?.[0]
  const told = `${how ?? "no status"}, ${age === undefined ? "no age" : `${age} s old`}`
  if (how === "fetched" || how === "revalidated") return { verdict: "fresh", detail: told }
  // Marked stale, it may be served while it is fetched anew: that is what was asked.
  if (how === "stale") return { verdict: mode === "purge" ? "stale" : "fresh", detail: told }
  if (age === undefined) return { verdict: "unknown", detail: told }
  const isOlder = now - Number(age) * SECOND + AGE_GRAIN < acceptedAt
  if (isOlder) return { verdict: "stale", detail: told }
  // An age alone may be the origin's own.
  return { verdict: how === "hit" || Number(age) > 0 ? "fresh" : "unknown", detail: told }
}
