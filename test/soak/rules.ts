import type { Milliseconds } from "../../protocol/time.ts"
import { type CacheName, CACHES, type Settings } from "./settings.ts"

/**
 * What counts as a violation, judged from outside: by versions, and by times that this process saw itself, all of one
 * clock. No record, receipt or header of Tidemark's has a say in when a version is too old; what a cache says of its own
 * answer (`Cache-Status`; at Varnish, that an object is past its time) only tells whether it was served *as fresh*.
 *
 * An answer is judged by when it was *asked* for, and a publish by when its acknowledgement had *arrived*, so that
 * whatever lies between the two is in the cache's favour, and no rule needs a tolerance of its own.
 *
 * - `bound`    The Worker cache served an older version as fresh more than `freshBound` after the change was
 *              acknowledged; of a lagging page, after its settle pass was (`inForceAt`).
 * - `swr`      It served one while revalidating, later than `swr` after that.
 * - `purged`   Varnish served an older version as fresh after the purge that ended it was answered by Varnish itself.
 *              Which one that is follows from what a purge can do and not from a count of passes, as a purge may be
 *              repeated, or merged with another's: it began when the change could be read, and when whatever Varnish
 *              had begun to read before that had been stored (`FETCH_MARGIN`). The last pass is always such a one,
 *              since it comes later than any answer of the origin may take.
 * - `grace`    Varnish served one while revalidating, later than its grace after that purge.
 * - `hard`     Either served a version that was purged, and not merely invalidated, at all: after the same bounds,
 *              at Varnish counted from the first such purge that was a hard one.
 * - `softened` Varnish was never asked for that hard purge, although all else was over.
 * - `lost`     With all faults over, a cache did not serve what was acknowledged before, within `CALM_LIMIT`. It is
 *              this rule that an invalidation which never arrived breaks: what was not purged has no bound to pass.
 * - `refused`  A publish was answered by something else than an acknowledgement or a plea to try again.
 * - `unheard`  With all faults over, one was still not acknowledged within `CALM_LIMIT`.
 */
export type Rule = "bound" | "swr" | "purged" | "grace" | "hard" | "softened" | "lost" | "refused" | "unheard"

export interface Violation {
  readonly at: Milliseconds
  readonly rule: Rule
  readonly cache: CacheName | "Worker"
  readonly page: number
  readonly detail: string
}

/** From when Varnish has stored what the origin answered. It does so on the first bytes; a busy machine takes a while. */
export const FETCH_MARGIN: Milliseconds = 1_000

/**
 * A pass that is due is appended by any relay that can: on its next poll, or when the lease of one that died is over.
 * Configured here are 1 s each; a connection that went dead is given up after 5 s, and made again within 1 s.
 */
export const PASS_BOUND: Milliseconds = 10_000

/** The longest back-off from a vendor in trouble (30 s), two leases, and time to work on a busy machine. */
export const CALM_LIMIT: Milliseconds = 45_000

/**
 * For how long after a look-up of its reader failed the store counts as away. A store that failed is asked again within
 * 2 s, by look-ups that are given up after 2.5 s; the first that succeeds ends it, so that a reader which is still
 * behind then is late.
 */
const STORE_AWAY: Milliseconds = 5_000

/**
 * How late an entry may be served as fresh: docs/guarantees.md, "Bounds".
 *
 * `2 x ttl`: an answer of the store is used for one ttl, and for another while it is refreshed. Redis has no replica
 * here, whose lag would be added. While the store does not answer, `maxStale`.
 */
export function freshBound(
  { ttl, maxStale }: Pick<Settings, "ttl" | "maxStale">,
  isStoreAway: boolean,
): Milliseconds {
  return isStoreAway ? maxStale : 2 * ttl
}

export type Mode = "invalidate" | "purge"

/** One version of a page that came to be. */
export interface Change {
  readonly page: number
  readonly version: number
  readonly mode: Mode
  /** When its own origin began to answer it. */
  readonly visibleAt: Milliseconds
  readonly lags: boolean
  ackedAt: Milliseconds | undefined
  /** From when the bound of the epoch cache counts. */
  inForceAt: Milliseconds | undefined
  /** When Varnish answered the first purge that ended all that is older, and the first such hard one. */
  purgedAt: Milliseconds | undefined
  purgedHardAt: Milliseconds | undefined
  /** When a cache last served anything older. */
  readonly lastStale: Record<CacheName, Milliseconds>
}

/** One answer of a cache. */
export interface Sighting {
  readonly cache: CacheName
  readonly page: number
  readonly version: number
  readonly askedAt: Milliseconds
  readonly answeredAt: Milliseconds
  /** Whether the cache said that it knows the page to be stale. */
  readonly isStale: boolean
  /** Of the epoch cache: when its reader's last failed look-up was. */
  readonly storeFailedAt?: Milliseconds
  /** What the cache said of its answer: told with a violation, never judged by. */
  readonly evidence?: string
}

export interface JudgeOptions {
  readonly settings: Settings
  /** See `Origin.lastOldRead`. */
  readonly lastOldRead: (cache: CacheName, page: number, version: number) => Milliseconds
  readonly onViolation: (violation: Violation) => void
  /** A change whose staleness is known: every cache has long served something newer. */
  readonly onSettled: (change: Change) => void
}

/** A purge as its proxy saw it. */
interface SeenPurge {
  readonly startedAt: Milliseconds
  readonly ackedAt: Milliseconds
  readonly isHard: boolean
  covers(page: number): boolean
}

/** Holds every answer against what was acknowledged before it was asked for. Bounded: `settle` forgets what is over. */
export class Judge {
  readonly #options: JudgeOptions
  /** By page, in the order of their versions. The first may be one that is kept only to be held against. */
  readonly #changes = new Map<number, Change[]>()
  readonly #told = new WeakSet<Change>()

  constructor(options: JudgeOptions) {
    this.#options = options
  }

  /** To be called before it is published. */
  changed(what: Pick<Change, "page" | "version" | "mode" | "visibleAt" | "lags">): Change {
    const change: Change = {
      ...what,
      ackedAt: undefined,
      inForceAt: undefined,
      purgedAt: undefined,
      purgedHardAt: undefined,
      lastStale: { "Worker cache": 0, Varnish: 0 },
    }
    const changes = this.#changes.get(what.page) ?? []
    changes.push(change)
    this.#changes.set(what.page, changes)
    return change
  }

  acknowledged(change: Change, at: Milliseconds): void {
    change.ackedAt = at
    if (!change.lags) change.inForceAt = at
  }

  purged({ startedAt, ackedAt, isHard, covers }: SeenPurge): void {
    for (const [page, changes] of this.#changes) {
      if (!covers(page)) continue
      for (const change of changes) {
        const isOver = change.purgedAt !== undefined && (change.purgedHardAt !== undefined || !isHard)
        if (isOver || startedAt <= change.visibleAt) continue
        if (startedAt <= this.#options.lastOldRead("Varnish", page, change.version) + FETCH_MARGIN) continue
        change.purgedAt ??= ackedAt
        if (isHard) change.purgedHardAt ??= ackedAt
      }
    }
  }

  /**
   * To be called every now and then, with since when nothing was wrong between the relays and the log: a pass that was
   * due has been appended once they could have done so for long enough.
   */
  tick(now: Milliseconds, healthySince: Milliseconds | undefined): void {
    if (healthySince === undefined) return
    for (const changes of this.#changes.values()) {
      for (const change of changes) {
        if (change.inForceAt !== undefined || change.ackedAt === undefined) continue
        const due = Math.max(change.ackedAt + this.#options.settings.settle, change.visibleAt)
        if (now - Math.max(due, healthySince) >= PASS_BOUND) change.inForceAt = now
      }
    }
  }

  saw(sighting: Sighting): void {
    const { cache, page, version, answeredAt } = sighting
    let broken: Omit<Violation, "at" | "page" | "cache"> | undefined
    for (const change of this.#changes.get(page) ?? []) {
      if (change.version <= version) continue
      change.lastStale[cache] = Math.max(change.lastStale[cache], answeredAt)
      broken ??=
        cache === "Varnish" ? this.#atVarnish(sighting, change) : this.#atEpochCache(sighting, change)
    }
    if (broken) this.#options.onViolation({ at: answeredAt, page, cache, ...broken })
  }

  /** The newest version of a page that was acknowledged, and could be read, by then. */
  expected(page: number, by: Milliseconds): number {
    const known = (this.#changes.get(page) ?? []).filter(
      ({ ackedAt, visibleAt }) => ackedAt !== undefined && ackedAt <= by && visibleAt <= by,
    )
    return known.at(-1)?.version ?? 1
  }

  /**
   * Gives up what was acknowledged long enough before `by`, all but the last of each page. Where all `isCalm`, a hard
   * purge that has not come by then never will.
   */
  settle(by: Milliseconds, isCalm: boolean): void {
    const { settings, onSettled, onViolation } = this.#options
    const takes = settings.settle + settings.secondPass + settings.hold + FETCH_MARGIN
    for (const [page, changes] of this.#changes) {
      const over = changes.filter(({ ackedAt }) => ackedAt !== undefined && ackedAt + takes <= by)
      for (const change of over) {
        if (this.#told.has(change)) continue
        this.#told.add(change)
        onSettled(change)
        if (!isCalm || change.mode !== "purge" || change.purgedHardAt !== undefined) continue
        onViolation({
          at: by,
          rule: "softened",
          cache: "Varnish",
          page,
          detail: `version ${change.version} purged what came before, and Varnish was not asked for a hard purge after it`,
        })
      }
      const last = over.at(-1)
      this.#changes.set(
        page,
        changes.filter((change) => change === last || !over.includes(change)),
      )
    }
  }

  #atEpochCache(sighting: Sighting, change: Change): Omit<Violation, "at" | "page" | "cache"> | undefined {
    const { settings } = this.#options
    const { askedAt, answeredAt, isStale, storeFailedAt = 0, version, evidence = "" } = sighting
    if (change.inForceAt === undefined) return undefined
    const isStoreAway = storeFailedAt > askedAt - STORE_AWAY
    const bound = freshBound(settings, isStoreAway)
    const since = askedAt - change.inForceAt
    const failed =
      storeFailedAt === 0 ? "no look-up failed" : `a look-up failed ${askedAt - storeFailedAt} ms before`
    const told = `${evidence}, ${failed}, answered ${answeredAt - askedAt} ms later`
    const late = `version ${version} was served ${since} ms after version ${change.version} counted (${told})`
    const limit = `${bound} ms${isStoreAway ? " with the store away" : ""}`
    if (change.mode === "purge" && since > bound)
      return { rule: "hard", detail: `${late}, which purged it; ${limit} are allowed` }
    if (!isStale && since > bound) return { rule: "bound", detail: `${late}, as fresh; ${limit} are allowed` }
    if (isStale && since > bound + settings.swr)
      return { rule: "swr", detail: `${late}, as stale; ${limit} and ${settings.swr} ms are allowed` }
    return undefined
  }

  #atVarnish(sighting: Sighting, change: Change): Omit<Violation, "at" | "page" | "cache"> | undefined {
    const { settings } = this.#options
    const { askedAt, isStale, version } = sighting
    const { purgedAt = Infinity, purgedHardAt = Infinity } = change
    const late = `version ${version} was served ${askedAt - purgedAt} ms after Varnish had answered the purge for version ${change.version}`
    if (change.mode === "purge" && askedAt > purgedHardAt)
      return { rule: "hard", detail: `${late}, a hard one` }
    if (!isStale && askedAt > purgedAt) return { rule: "purged", detail: `${late}, as fresh` }
    if (isStale && askedAt > purgedAt + settings.grace)
      return { rule: "grace", detail: `${late}, as stale; ${settings.grace} ms are allowed` }
    return undefined
  }
}

/** How long after its acknowledgement a change was still hidden by something older in a cache; 0 where it was not. */
export const stalenessOf = ({ ackedAt = 0, lastStale }: Change): Record<CacheName, Milliseconds> =>
  Object.fromEntries(CACHES.map((cache) => [cache, Math.max(0, lastStale[cache] - ackedAt)])) as Record<
    CacheName,
    Milliseconds
  >
