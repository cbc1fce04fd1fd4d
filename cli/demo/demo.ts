import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as delay } from "node:timers/promises"
import { loadConfigFile } from "../config-file.ts"
import { type RunningDev, startDev } from "../dev/start.ts"
import { CliError, EXIT } from "../exit.ts"
import type { CommonOptions } from "../options.ts"
import { moduleFile } from "../package-root.ts"
import { paint, print, printJson, progress, tell } from "../output.ts"
import { Watcher } from "./watch.ts"
import { contentfulPublish } from "./webhook.ts"

export type Break = "publish" | "purge" | "epoch"

export interface DemoOptions extends CommonOptions {
  readonly break?: Break
}

/** How long the demo site uses a look-up before it asks again: its cache is true after twice as long. */
const TTL_MS = 500
/** How long the caches are watched after both were true, for an old page that comes back. */
const AFTERWARDS_MS = 1_500
/** How long they are waited for. */
const PATIENCE_MS = 10_000
const POST = "hello"
const PATH = `/blog/${POST}`
const HOOK = "/v1/hooks/contentful-main"

/** A port that nothing answers on: where purges go that are to be lost. */
const NOWHERE = "http://127.0.0.1:9"

/**
 * Sends one webhook, signed as Contentful signs, through the whole path, while two readers poll both caches. Done only
 * when both served the new page and neither the old one later than it may.
 */
export async function runDemo(options: DemoOptions): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), "tidemark-demo-"))
  const line = progress()
  let dev: RunningDev | undefined
  try {
    line.show("starting Redis, gateway, Worker, relay, Varnish and a site …")
    dev = await start(directory, options, (text) => {
      line.clear()
      tell(text)
    })
    line.clear()
    const outcome = await watchOneChange(dev, options.break)
    if (options.json) printJson(outcome)
    return outcome.ok ? EXIT.done : EXIT.failed
  } catch (error) {
    line.clear()
    if (error instanceof CliError) throw error
    throw new CliError("failed", error instanceof Error ? error.message : "the demo did not run", {
      cause: error,
    })
  } finally {
    await dev?.stop()
    await rm(directory, { recursive: true, force: true })
  }
}

async function start(
  directory: string,
  options: DemoOptions,
  onMessage: (text: string) => void,
): Promise<RunningDev> {
  const { path, config } = await loadConfigFile(moduleFile("tidemark.config"))
  // Its own servers, whatever this machine's environment says.
  const {
    REDIS_URL: _,
    TIDEMARK_SITE_URL: __,
    UPSTASH_REDIS_REST_TOKEN: ___,
    TIDEMARK_TOKEN: ____,
    ...env
  } = process.env
  const skipped: string[] = []
  const dev = await startDev({
    config,
    configPath: path,
    directory,
    env,
    ports: { redis: 0, gateway: 0, worker: 0, relay: 0, varnish: 0, site: 0 },
    onEvent: (event) => void (event.event === "skipped" && skipped.push(event.reason)),
    onMessage,
    // A look-up that is used for an hour is an epoch that nobody asks for.
    site: { DEMO_TTL_MS: String(options.break === "epoch" ? 3_600_000 : TTL_MS) },
    ...(options.break === "purge" ? { purgeAt: NOWHERE } : {}),
  })
  if (skipped.length === 0) return dev
  await dev.stop()
  throw new CliError("failed", `the demo needs a real Varnish: ${skipped.join("; ")}`)
}

interface Outcome {
  readonly ok: boolean
  readonly epoch: number | null
  /** Milliseconds from when the webhook was sent. */
  readonly ms: Readonly<Record<string, number | null>>
  readonly served: Readonly<Record<string, { readonly answers: number; readonly oldTooLate: number }>>
}

interface Watched {
  readonly watcher: Watcher
  /** From when on this cache may not serve the old page, once that is known. */
  bound: number | undefined
}

async function watchOneChange(dev: RunningDev, broken: Break | undefined): Promise<Outcome> {
  const { worker = "", site = "", varnish = "" } = dev.urls
  await setRevision(site, 1)
  const edge: Watched = { watcher: new Watcher("the Worker's cache", `${site}${PATH}`), bound: undefined }
  const front: Watched = { watcher: new Watcher("Varnish", `${varnish}${PATH}`), bound: undefined }
  const both = [edge, front]
  const wake = new WakeListener(dev)
  const steps = new Steps()
  try {
    await until(
      () => both.every(({ watcher }) => watcher.firstOf(1) !== undefined),
      "the caches never served the page",
    )
    await wake.listening
    steps.say("before", `both caches serve revision 1 of ${PATH}`)

    await setRevision(site, 2)
    steps.say("edit", "the CMS now holds revision 2")
    const published = await sendWebhook(dev, worker, broken)
    steps.start(published.sentAt)
    steps.at("publish", published.answeredAt, published.text)
    if (published.epoch !== null) steps.at("epoch", published.epoch / 1000, String(published.epoch))
    edge.bound = published.answeredAt + 2 * TTL_MS
    if (published.epoch !== null) {
      const heard = await wake.first
      if (heard !== undefined) steps.at("wake", heard, "heard by Pub/Sub")
      front.bound = await purged(dev, published.epoch, steps)
    }
    // Where no purge was acknowledged none may be waited for: the page is wrong from when it should have been.
    front.bound ??= published.answeredAt + PATIENCE_MS / 5
    await until(
      () => both.every(({ watcher }) => watcher.firstOf(2) !== undefined),
      undefined,
      PATIENCE_MS / 2,
    )
    const firsts = both.flatMap(({ watcher }) => ({
      name: watcher.name,
      at: watcher.firstOf(2) ?? Number.POSITIVE_INFINITY,
    }))
    for (const { name, at } of firsts.toSorted((a, b) => a.at - b.at)) {
      if (Number.isFinite(at)) steps.at("fresh", at, `first new page from ${name}`)
    }
    await delay(AFTERWARDS_MS)
  } finally {
    await Promise.all(both.map(({ watcher }) => watcher.stop()))
    wake.stop()
  }
  return verdict(both, steps)
}

function verdict(both: readonly Watched[], steps: Steps): Outcome {
  const served = both.map(({ watcher, bound = 0 }) => {
    const late = watcher.staleAfter(bound, 2)
    const isTrue = watcher.firstOf(2) !== undefined && late.length === 0
    return { name: watcher.name, isTrue, answers: watcher.sightings.length, late: late.length }
  })
  print("")
  for (const { name, isTrue, answers, late } of served) {
    const mark = isTrue ? paint("green", "true ") : paint("red", "STALE")
    const count =
      late === 0 ? "never the old page past its bound" : `the old page ${late} times past its bound`
    print(`  ${mark}  ${name}: ${answers} answers, ${count}`)
  }
  const wrong = served.filter(({ isTrue }) => !isTrue).map(({ name }) => name)
  print(
    wrong.length === 0
      ? "\n  Every cache is true."
      : `\n  The old page was served by ${wrong.join(" and ")}.`,
  )
  return {
    ok: wrong.length === 0,
    epoch: steps.epoch,
    ms: steps.ms,
    served: Object.fromEntries(
      served.map(({ name, answers, late }) => [name, { answers, oldTooLate: late }]),
    ),
  }
}

/** What happened when, as it is printed. */
class Steps {
  readonly ms: Record<string, number | null> = {}
  epoch: number | null = null
  #start: number | undefined

  start(at: number): void {
    this.#start = at
  }

  say(step: string, text: string): void {
    print(`  ${"".padStart(9)}  ${step.padEnd(8)}  ${text}`)
  }

  at(step: string, at: number, text: string): void {
    const since = Math.max(0, at - (this.#start ?? at))
    this.ms[step === "fresh" || step === "purge" ? `${step}: ${text}` : step] = Math.round(since * 10) / 10
    if (step === "epoch") this.epoch = Number(text)
    print(`  ${`${since.toFixed(1)} ms`.padStart(9)}  ${step.padEnd(8)}  ${text}`)
  }
}

interface Published {
  readonly sentAt: number
  readonly answeredAt: number
  readonly epoch: number | null
  readonly text: string
}

async function sendWebhook(dev: RunningDev, worker: string, broken: Break | undefined): Promise<Published> {
  const secret = dev.environment.vars.CONTENTFUL_SECRET ?? ""
  const { headers, body } = contentfulPublish(secret, HOOK, POST, 2, Date.now())
  const sentAt = Date.now()
  // A delivery that is lost is one that never verifies here.
  const response = await fetch(worker + HOOK, {
    method: "POST",
    headers,
    body: broken === "publish" ? `${body} ` : body,
  })
  const answer = (await response.json()) as { epochs?: number[]; title?: string }
  const answeredAt = Date.now()
  const epoch = answer.epochs?.[0] ?? null
  const text =
    epoch === null ? `${response.status}: ${answer.title ?? "nothing was recorded"}` : "acknowledged: 200"
  return { sentAt, answeredAt, epoch, text }
}

interface RecordView {
  readonly state: string
  readonly targets: Readonly<
    Record<string, { readonly state: string; readonly at: string | null; readonly error: string | null }>
  >
}

/** Waits for every target; when the last was acknowledged, or undefined when one was not in time. */
async function purged(dev: RunningDev, epoch: number, steps: Steps): Promise<number | undefined> {
  const headers = { authorization: `Bearer ${dev.environment.token}` }
  const over = Date.now() + PATIENCE_MS / 5
  let record: RecordView | undefined
  do {
    await delay(10)
    const response = await fetch(`${dev.urls.worker}/v1/invalidations/${epoch}`, { headers })
    record = response.ok ? ((await response.json()) as RecordView) : undefined
  } while (record?.state !== "done" && Date.now() < over)
  const times = Object.entries(record?.targets ?? {}).map(([name, target]) => {
    if (target.state === "done" && target.at !== null) steps.at("purge", Date.parse(target.at), name)
    else steps.say("purge", `${name}: ${target.state}${target.error === null ? "" : `, ${target.error}`}`)
    return target.state === "done" && target.at !== null ? Date.parse(target.at) : undefined
  })
  return times.length === 0 || times.includes(undefined)
    ? undefined
    : Math.max(...times.map((time) => time ?? 0))
}

/** Hears wakes as any subscriber would, over the gateway's event stream. */
class WakeListener {
  readonly listening: Promise<void>
  readonly first: Promise<number | undefined>
  readonly #stopping = new AbortController()

  constructor(dev: RunningDev) {
    const listening = Promise.withResolvers<void>()
    const first = Promise.withResolvers<number | undefined>()
    this.listening = listening.promise
    this.first = Promise.race([first.promise, delay(PATIENCE_MS / 5, undefined, { ref: false })])
    const url = `${dev.urls.gateway}/psubscribe/${encodeURIComponent("tm:v1:{default}:*")}`
    const listen = async () => {
      const headers = { authorization: `Bearer ${dev.gatewayToken}` }
      const response = await fetch(url, { headers, signal: this.#stopping.signal })
      const decoder = new TextDecoder()
      for await (const chunk of response.body ?? []) {
        const text = decoder.decode(chunk)
        if (text.includes("psubscribe,")) listening.resolve()
        if (text.includes("pmessage,")) first.resolve(Date.now())
      }
    }
    listen().catch(() => {
      listening.resolve()
      first.resolve(undefined)
    })
  }

  stop(): void {
    this.#stopping.abort()
  }
}

async function setRevision(site: string, revision: number): Promise<void> {
  const response = await fetch(`${site}/cms/posts/${POST}`, { method: "PUT", body: String(revision) })
  if (!response.ok) throw new CliError("failed", `the demo site answered ${response.status}`)
}

/** @throws {CliError} with `failure`, when it did not come to pass in time; without one that is for the caller to see */
async function until(
  condition: () => boolean,
  failure: string | undefined,
  patience = PATIENCE_MS,
): Promise<void> {
  const over = Date.now() + patience
  while (!condition()) {
    if (Date.now() > over) {
      if (failure === undefined) return
      throw new CliError("failed", failure)
    }
    await delay(10)
  }
}
