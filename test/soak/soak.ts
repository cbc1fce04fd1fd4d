import type { Milliseconds } from "../../protocol/time.ts"
import { type Fault, Faults, pause, planFaults } from "./faults.ts"
import { Origin } from "./origin.ts"
import { Random } from "./random.ts"
import { type ReadCounts, Readers } from "./readers.ts"
import { CALM_LIMIT, type Change, FETCH_MARGIN, Judge, stalenessOf, type Violation } from "./rules.ts"
import { Samples } from "./samples.ts"
import { type CacheName, CACHES, SETTINGS, type Settings } from "./settings.ts"
import { type Stage, startStage } from "./stage.ts"
import { Writers } from "./writers.ts"

export type Break = "epoch" | "purge"

export interface SoakOptions {
  readonly seconds: number
  readonly seed: number
  readonly readers: number
  readonly writers: number
  readonly relays: number
  readonly pages: number
  readonly faults: boolean
  readonly broken?: Break
  /** Where the relays' logs go. Default: nowhere. */
  readonly logs?: string
  /** Ends the run early, which still reports what it has. */
  readonly signal: AbortSignal
  readonly onFault: (fault: Fault, elapsed: Milliseconds) => void
  readonly onViolation: (violation: Violation, elapsed: Milliseconds) => void
  /** Told every few seconds. */
  readonly onProgress: (progress: Progress) => void
}

export interface Progress {
  readonly elapsed: Milliseconds
  readonly phase: string
  readonly reads: number
  readonly changes: number
  readonly faults: number
  readonly violations: number
}

/** A point of the plot: a change, and how long a cache still served what was before. In ms; `at` since the start. */
export interface Point {
  readonly at: Milliseconds
  readonly staleness: Milliseconds
  readonly lags: boolean
}

export interface SoakResult {
  readonly seconds: number
  readonly settings: Settings
  readonly interrupted: boolean
  readonly startedAt: Milliseconds
  readonly took: Milliseconds
  readonly reads: Readonly<Record<CacheName, Readonly<ReadCounts>>>
  readonly changes: number
  readonly acknowledged: number
  readonly attempts: number
  readonly races: number
  readonly heldAnswers: number
  readonly purges: number
  /** By place and what it was. */
  readonly faultCounts: Readonly<Record<string, number>>
  readonly faults: readonly Fault[]
  readonly violationCount: number
  /** By rule and cache. */
  readonly violationCounts: Readonly<Record<string, number>>
  readonly violations: readonly Violation[]
  readonly staleness: Readonly<Record<CacheName, { readonly prompt: Samples; readonly lagging: Samples }>>
  readonly points: Readonly<Record<CacheName, readonly Point[]>>
}

/** Kept for the report; of more, only their number is known. */
const MAX_VIOLATIONS = 100
const MAX_FAULTS = 2_000
const MAX_POINTS = 3_000

/** How long faults come and go before all of them end, and everything is looked at. */
const STORM: Milliseconds = 30_000
const WARM_UP: Milliseconds = 1_500
const PROGRESS_EVERY: Milliseconds = 4_000
const READ_EVERY: Milliseconds = 15
const WRITE_EVERY: Milliseconds = 700

/**
 * Changes pages, reads them through both caches, and harms the parts between, for so many seconds; then lets all faults
 * end, and sees whether every cache comes to serve what was acknowledged. Leaves nothing running.
 *
 * @throws {Error} when a part does not start
 */
export async function soak(options: SoakOptions): Promise<SoakResult> {
  return new Run(options).run()
}

class Run {
  readonly #options: SoakOptions
  readonly #settings: Settings = SETTINGS
  readonly #random: Random
  readonly #origin: Origin
  readonly #judge: Judge
  readonly #purges: number[]
  readonly #violations: Violation[] = []
  readonly #violationCounts: Record<string, number> = {}
  #violationCount = 0
  readonly #faults: Fault[] = []
  readonly #faultCounts: Record<string, number> = {}
  #faultCount = 0
  readonly #staleness = {
    "Worker cache": { prompt: new Samples(), lagging: new Samples() },
    Varnish: { prompt: new Samples(), lagging: new Samples() },
  }
  readonly #points: Record<CacheName, Point[]> = { "Worker cache": [], Varnish: [] }
  #purgeCount = 0
  #startedAt = 0
  /** Also where a break was found out, after which there is nothing more to see. */
  readonly #over = new AbortController()

  constructor(options: SoakOptions) {
    this.#options = options
    this.#random = new Random(options.seed)
    const slowness = this.#random.fork()
    this.#origin = new Origin({
      pages: options.pages,
      hold: this.#settings.hold,
      slowness: () => (slowness.chance(0.05) ? slowness.between(20, 400) : 0),
    })
    this.#purges = Array.from({ length: options.pages }, () => 0)
    this.#judge = new Judge({
      settings: this.#settings,
      lastOldRead: (cache, page, version) => this.#origin.lastOldRead(cache, page, version),
      onViolation: (violation) => this.#violated(violation),
      onSettled: (change) => this.#settled(change),
    })
  }

  async run(): Promise<SoakResult> {
    const { signal, broken, relays, logs } = this.#options
    const stop = () => this.#over.abort()
    signal.addEventListener("abort", stop, { once: true })
    if (signal.aborted) stop()
    const stage = await startStage({
      settings: this.#settings,
      origin: this.#origin,
      relays,
      onPurge: (purge) => {
        this.#purgeCount += 1
        for (const page of this.#purges.keys())
          if (purge.covers(page)) this.#purges[page] = (this.#purges[page] ?? 0) + 1
        this.#judge.purged(purge)
      },
      breaksEpochs: broken === "epoch",
      ...(logs === undefined ? {} : { logs }),
    })
    try {
      if (broken === "purge") stage.purges.behave("lying")
      return await this.#watch(stage)
    } finally {
      signal.removeEventListener("abort", stop)
      await stage.stop()
    }
  }

  get #interrupted(): boolean {
    return this.#options.signal.aborted
  }

  async #watch(stage: Stage): Promise<SoakResult> {
    const { seconds, readers: readerCount, writers: writerCount, pages } = this.#options
    this.#startedAt = Date.now()
    const signal = this.#over.signal
    const readers = new Readers(stage.caches, (sighting) => this.#judge.saw(sighting))
    const writers = new Writers({
      worker: stage.worker,
      token: stage.token,
      hookSecret: stage.hookSecret,
      settings: this.#settings,
      origin: this.#origin,
      judge: this.#judge,
      purgesOf: (page) => this.#purges[page] ?? 0,
      onViolation: (violation) => this.#violated(violation),
    })
    const faults = new Faults(stage, (fault) => this.#onFault(fault))
    let phase = "warming up"
    const ticking = setInterval(() => this.#judge.tick(Date.now(), faults.healthySince), 100)
    const telling = setInterval(() => {
      this.#options.onProgress({
        elapsed: Date.now() - this.#startedAt,
        phase,
        reads: readers.total,
        changes: writers.changes,
        faults: this.#faultCount,
        violations: this.#violationCount,
      })
    }, PROGRESS_EVERY)
    const writing = new AbortController()
    const work: Promise<void>[] = []
    try {
      for (let index = 0; index < readerCount; index += 1)
        work.push(readers.wander(pages, this.#random.fork(), READ_EVERY, signal))
      const edits: Promise<void>[] = []
      for (let index = 0; index < writerCount; index += 1) {
        const own = Array.from({ length: pages }, (_, page) => page).filter(
          (page) => page % writerCount === index,
        )
        const random = this.#random.fork()
        edits.push(writers.write(own, random, WRITE_EVERY, writing.signal, signal))
      }
      work.push(...edits)
      const end = this.#startedAt + seconds * 1_000
      await pause(WARM_UP, signal)
      while (Date.now() < end && !signal.aborted) {
        const length = Math.min(STORM, end - Date.now())
        phase = this.#options.faults ? "storm" : "no faults"
        const planned = this.#options.faults
          ? planFaults(this.#random.fork(), length, this.#options.relays)
          : []
        await faults.storm(planned, length, signal)
        if (Date.now() >= end) break
        phase = "calm"
        await this.#calm(readers, Date.now(), Date.now(), signal)
      }
      phase = "all faults are over"
      writing.abort()
      await this.#lastWords(writers, edits, signal)
      const { settle, secondPass, hold } = this.#settings
      const last = Date.now()
      const passed = last + settle + secondPass + hold + FETCH_MARGIN
      // A break is found out by what was served; there is no calm to wait for.
      if (this.#options.broken === undefined) await this.#calm(readers, last, passed, signal)
    } finally {
      writing.abort()
      this.#over.abort()
      clearInterval(ticking)
      clearInterval(telling)
      await Promise.allSettled(work)
      await Promise.all([readers.close(), writers.close()])
    }
    // What no calm came for: its staleness as far as it was seen.
    this.#judge.settle(Number.POSITIVE_INFINITY, false)
    return this.#result(readers, writers)
  }

  /** What is still to be acknowledged, now that nothing stands in its way. */
  async #lastWords(writers: Writers, edits: readonly Promise<void>[], signal: AbortSignal): Promise<void> {
    const heard = Promise.all(edits).then(() => true)
    const patience = new AbortController()
    const stop = () => patience.abort()
    signal.addEventListener("abort", stop, { once: true })
    const wasHeard = await Promise.race([heard, pause(CALM_LIMIT, patience.signal).then(() => false)])
    stop()
    signal.removeEventListener("abort", stop)
    if (wasHeard || signal.aborted) return
    const detail = `${writers.unheard} publishes were not acknowledged`
    this.#violated({ at: Date.now(), rule: "unheard", cache: "Worker", page: -1, detail })
  }

  /**
   * Reads every page of both caches until each serves, as fresh, at least what was acknowledged by `by`, and goes on
   * until `until`. Where one does not in time, something was lost.
   */
  async #calm(readers: Readers, by: Milliseconds, until: Milliseconds, signal: AbortSignal): Promise<void> {
    const over = Date.now() + CALM_LIMIT
    for (;;) {
      const began = Date.now()
      const behind: { cache: CacheName; page: number; detail: string }[] = []
      for (const cache of CACHES) {
        for (let page = 0; page < this.#options.pages && !signal.aborted; page += 1) {
          const expected = this.#judge.expected(page, by)
          const seen = await readers.read(cache, page, signal)
          const what = !seen
            ? "was not answered"
            : seen.isBypass
              ? "was not cached, as nothing was known of its epochs"
              : `was served in version ${seen.version}${seen.isStale ? ", as stale" : ""}`
          if (!seen || seen.isBypass || seen.version < expected)
            behind.push({ cache, page, detail: `${what}, ${expected} was acknowledged` })
        }
      }
      if (signal.aborted) return
      if (behind.length === 0 && began >= until) break
      if (Date.now() > over) {
        for (const { cache, page, detail } of behind)
          this.#violated({ at: Date.now(), rule: "lost", cache, page, detail: `in calm, ${detail}` })
        break
      }
      await pause(200, signal)
    }
    this.#judge.settle(Date.now(), true)
  }

  #violated(violation: Violation): void {
    this.#violationCount += 1
    const name = `${violation.cache}: ${violation.rule}`
    this.#violationCounts[name] = (this.#violationCounts[name] ?? 0) + 1
    if (this.#violations.length < MAX_VIOLATIONS) {
      this.#violations.push(violation)
      this.#options.onViolation(violation, violation.at - this.#startedAt)
    }
    if (this.#options.broken !== undefined && this.#violationCount >= 10) this.#over.abort()
  }

  #settled(change: Change): void {
    const staleness = stalenessOf(change)
    for (const cache of CACHES) {
      this.#staleness[cache][change.lags ? "lagging" : "prompt"].add(staleness[cache])
      const points = this.#points[cache]
      const point = {
        at: (change.ackedAt ?? 0) - this.#startedAt,
        staleness: staleness[cache],
        lags: change.lags,
      }
      if (points.length < MAX_POINTS) points.push(point)
      // Of a long run, some of the middle go; what is worst stays.
      else {
        const place = Math.floor(Math.random() * points.length)
        if ((points[place]?.staleness ?? 0) < point.staleness || Math.random() < 0.5) points[place] = point
      }
    }
  }

  #onFault(fault: Fault): void {
    if (fault.to === undefined) {
      this.#faultCount += 1
      const name = `${fault.place}: ${fault.what}`
      this.#faultCounts[name] = (this.#faultCounts[name] ?? 0) + 1
      this.#faults.push(fault)
      if (this.#faults.length > MAX_FAULTS) this.#faults.splice(1, 1)
    }
    this.#options.onFault(fault, (fault.to ?? fault.from) - this.#startedAt)
  }

  #result(readers: Readers, writers: Writers): SoakResult {
    const { changes, acknowledged, attempts, races } = writers
    return {
      seconds: this.#options.seconds,
      settings: this.#settings,
      interrupted: this.#interrupted,
      startedAt: this.#startedAt,
      took: Date.now() - this.#startedAt,
      reads: readers.counts,
      changes,
      acknowledged,
      attempts,
      races,
      heldAnswers: this.#origin.held,
      purges: this.#purgeCount,
      faultCounts: this.#faultCounts,
      faults: this.#faults,
      violationCount: this.#violationCount,
      violationCounts: this.#violationCounts,
      violations: this.#violations,
      staleness: this.#staleness,
      points: this.#points,
    }
  }
}
