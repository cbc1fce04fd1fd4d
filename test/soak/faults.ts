import type { Milliseconds } from "../../protocol/time.ts"
import type { PurgeManner } from "./purge-proxy.ts"
import type { Random } from "./random.ts"
import type { Stage } from "./stage.ts"

/** What a fault is on; two on one thing at a time would undo each other. */
type Place = "relay 1" | "relay 2" | "relays' link" | "Worker's link" | "Pub/Sub" | "purges" | "Redis"

/** One fault as it was drawn. */
export interface PlannedFault {
  /** After the storm began. */
  readonly after: Milliseconds
  readonly lasts: Milliseconds
  readonly place: Place
  readonly what: string
}

/** One fault as it was. */
export interface Fault extends Omit<PlannedFault, "after" | "lasts"> {
  readonly from: Milliseconds
  to: Milliseconds | undefined
}

interface Kind {
  readonly what: string
  readonly places: readonly [Place, ...Place[]]
  /** Shortest and longest; neither for what is over at once. */
  readonly lasts?: readonly [Milliseconds, Milliseconds]
  begin(stage: Stage, place: Place, lasts: Milliseconds): unknown
  end?(stage: Stage, place: Place): unknown
}

const LINKS = ["relays' link", "Worker's link"] as const
const RELAYS = ["relay 1", "relay 2"] as const
const linkAt = ({ links }: Stage, place: Place) => (place === "Worker's link" ? links.gateway : links.relays)
const relayAt = ({ relays }: Stage, place: Place) => relays[place === "relay 2" ? 1 : 0]

const purgeFault = (what: string, manner: PurgeManner): Kind => ({
  what,
  places: ["purges"],
  lasts: [300, 3_000],
  begin: ({ purges }) => purges.behave(manner),
  end: ({ purges }) => purges.behave("open"),
})

const KINDS: readonly [Kind, ...Kind[]] = [
  {
    what: "killed",
    places: RELAYS,
    lasts: [300, 5_000],
    begin: (stage, place) => relayAt(stage, place)?.kill(),
    end: (stage, place) => relayAt(stage, place)?.start(),
  },
  {
    what: "frozen",
    places: RELAYS,
    lasts: [500, 6_000],
    begin: (stage, place) => relayAt(stage, place)?.signal("SIGSTOP"),
    end: (stage, place) => relayAt(stage, place)?.signal("SIGCONT"),
  },
  { what: "closed", places: LINKS, begin: (stage, place) => linkAt(stage, place).close() },
  { what: "reset", places: LINKS, begin: (stage, place) => linkAt(stage, place).reset() },
  { what: "half open", places: LINKS, begin: (stage, place) => linkAt(stage, place).freeze() },
  {
    what: "cut",
    places: LINKS,
    lasts: [500, 9_000],
    begin: (stage, place) => linkAt(stage, place).cut(true),
    end: (stage, place) => linkAt(stage, place).cut(false),
  },
  {
    what: "stalled",
    places: LINKS,
    lasts: [500, 9_000],
    begin: (stage, place) => linkAt(stage, place).stall(true),
    end: (stage, place) => linkAt(stage, place).stall(false),
  },
  {
    what: "answers lost",
    places: LINKS,
    lasts: [300, 3_000],
    begin: (stage, place) => linkAt(stage, place).swallow(true),
    end(stage, place) {
      linkAt(stage, place).swallow(false)
      // Answers are told from one another by their order alone: with some missing, nothing on them can be right.
      linkAt(stage, place).reset()
    },
  },
  {
    what: "slow",
    places: LINKS,
    lasts: [1_000, 6_000],
    begin: (stage, place) => linkAt(stage, place).weather({ delay: 120, jitter: 80, bytesPerSecond: 40_000 }),
    end: (stage, place) => linkAt(stage, place).weather({}),
  },
  {
    what: "muffled",
    places: ["Pub/Sub"],
    lasts: [2_000, 12_000],
    begin: ({ links }) => links.relays.muffle(true),
    end: ({ links }) => links.relays.muffle(false),
  },
  {
    what: "connections killed",
    places: ["Pub/Sub"],
    begin: (stage) => stage.command("CLIENT", "KILL", "TYPE", "pubsub"),
  },
  { what: "scripts flushed", places: ["Redis"], begin: (stage) => stage.command("SCRIPT", "FLUSH") },
  {
    what: "restarted with its data",
    places: ["Redis"],
    // How long it is away; the fault ends when it is back.
    lasts: [100, 2_000],
    begin: (stage, _place, lasts) => stage.restartRedis(lasts),
  },
  purgeFault("not answered", "silent"),
  purgeFault("connections ended", "refused"),
  purgeFault("answered 503", "failing"),
  purgeFault("answers lost", "mute"),
]

/** Mean time from one fault to the next. */
const EVERY: Milliseconds = 1_200

/** The faults of one storm, as a seed draws them. Nothing that happens meanwhile changes them. */
export function planFaults(random: Random, length: Milliseconds, relays: number): PlannedFault[] {
  const planned: PlannedFault[] = []
  const busy = new Map<Place, Milliseconds>()
  for (let after = random.between(0, EVERY); after < length; after -= EVERY * Math.log(1 - random.next())) {
    const { what, places, lasts } = random.pick(KINDS)
    const place = random.pick(places)
    const [least, most] = lasts ?? [0, 0]
    const drawn = Math.round(random.between(least, most))
    if ((busy.get(place) ?? 0) > after || (place === "relay 2" && relays < 2)) continue
    busy.set(place, after + drawn + 500)
    planned.push({ after: Math.round(after), lasts: drawn, place, what })
  }
  return planned
}

/** Carries faults out, and remembers when each was. */
export class Faults {
  readonly #stage: Stage
  readonly #onFault: (fault: Fault) => void
  readonly #under = new Set<Promise<void>>()
  readonly #active = new Set<Fault>()
  #lastTrouble = Date.now()

  constructor(stage: Stage, onFault: (fault: Fault) => void) {
    this.#stage = stage
    this.#onFault = onFault
  }

  /** Since when nothing was wrong between the relays and the log; undefined while something is. */
  get healthySince(): Milliseconds | undefined {
    for (const { place } of this.#active) if (isOnLog(place)) return undefined
    return this.#lastTrouble
  }

  get active(): number {
    return this.#active.size
  }

  /** Resolves when the storm is over, and every fault of it. Where the signal aborts, each ends at once. */
  async storm(planned: readonly PlannedFault[], length: Milliseconds, signal: AbortSignal): Promise<void> {
    const began = Date.now()
    for (const fault of planned) {
      await pause(began + fault.after - Date.now(), signal)
      if (signal.aborted) break
      const one = this.#carryOut(fault, Math.min(fault.lasts, began + length - Date.now()), signal)
      this.#under.add(one)
      void one.finally(() => this.#under.delete(one))
    }
    await pause(began + length - Date.now(), signal)
    await Promise.all(this.#under)
  }

  async #carryOut({ what, place }: PlannedFault, lasts: Milliseconds, signal: AbortSignal): Promise<void> {
    const kind = KINDS.find((one) => one.what === what && one.places.includes(place))
    if (!kind) return
    const fault: Fault = { what, place, from: Date.now(), to: undefined }
    this.#active.add(fault)
    this.#onFault(fault)
    try {
      await kind.begin(this.#stage, place, Math.max(100, lasts))
      if (kind.end) await pause(lasts, signal)
    } catch {
      // Told to a Redis that is away just now.
    } finally {
      await kind.end?.(this.#stage, place)
      fault.to = Date.now()
      this.#active.delete(fault)
      if (isOnLog(place)) this.#lastTrouble = fault.to
      this.#onFault(fault)
    }
  }
}

const isOnLog = (place: Place): boolean => place !== "purges" && place !== "Worker's link"

export const pause = (length: Milliseconds, signal: AbortSignal): Promise<void> =>
  new Promise((done) => {
    if (signal.aborted || length <= 0) {
      done()
      return
    }
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener("abort", end)
      done()
    }
    const timer = setTimeout(end, length)
    signal.addEventListener("abort", end, { once: true })
  })
