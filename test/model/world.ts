import { Memory } from "../../dispatch/adopt.ts"
import { listLetters, replayLetter } from "../../dispatch/letters.ts"
import { Lane } from "../../dispatch/lane.ts"
import { createPacer } from "../../dispatch/pace.ts"
import { runPasses } from "../../dispatch/passes.ts"
import type { Batch, Outcome } from "../../dispatch/targets/target.ts"
import type { Config } from "../../protocol/config/schema.ts"
import { type Epoch, parseHead } from "../../protocol/epoch.ts"
import { type InvalidationInput, parseInvalidation, type PassKind } from "../../protocol/invalidation.ts"
import { cursorKey, deadKey, dueKey, headKey, laterAfterKey, laterKey, logKey } from "../../protocol/keys.ts"
import { parseLetter } from "../../protocol/letter.ts"
import { parseLogEntries } from "../../protocol/log.ts"
import { type EntryPlan, planEntry, publish, settingsFor } from "../../protocol/publish.ts"
import { parseJson, type RangeReceipt } from "../../protocol/receipt.ts"
import { readHash } from "../../protocol/record.ts"
import {
  asList,
  asText,
  type Command,
  type Reply,
  type Script,
  type Store,
  StoreError,
} from "../../protocol/store.ts"
import { MINUTE, type Milliseconds } from "../../protocol/time.ts"
import { type ManualClock, manualClock } from "../support/clock.ts"
import {
  accepted,
  type FakeDriver,
  fakeDriver,
  refused,
  trouble,
  unauthorised,
} from "../support/fake-driver.ts"
import { CAPABILITIES, configOf, mayReach, NONE, type Pages, reached, type Setting, TARGETS } from "./site.ts"
import {
  filled,
  type Commit,
  type Entry,
  type Letter,
  type Mood,
  named,
  type Publishing,
  type Taken,
  type Tick,
  toldOf,
} from "./seen.ts"
import { CLOCK, timed } from "../support/timed-scripts.ts"

/**
 * Two relays, two targets and one real Redis whose every step waits to be let run: what happens in which order, and
 * what fails, is a history's to say. Beside them stands what was seen of it all, for the judge.
 */

interface Step {
  readonly label: string
  run(): Promise<void>
  /** Its effect alone: whoever asked for it never hears of it. */
  readonly effect: () => Promise<unknown>
  fail(error: StoreError): void
}

interface Actor {
  readonly id: string
  readonly clock: ManualClock
  /** To the store, in order: there is one connection. */
  readonly steps: Step[]
  readonly calls: Step[]
  readonly memories: ReadonlyMap<string, Memory>
  readonly lanes: readonly Lane[]
  readonly drivers: readonly FakeDriver[]
  readonly polling: Set<string>
  /** When each lane last read, and whether it might then have found that it cannot read across. */
  readonly reads: Map<string, { readonly at: Tick; readonly mayResync: boolean }>
  state: "running" | "frozen" | "dead"
  /** Whether a fault of the store was put in its way: only then may it say that it failed. */
  wasHarmed: boolean
}

export interface Servers {
  readonly store: Store
  /** The same Redis, as one who may not publish to channels sees it. */
  readonly mute: Store
}

interface Answer {
  readonly fingerprint: string
  readonly epochs: readonly Epoch[]
}

interface Snapshot {
  readonly answers: ReadonlyMap<string, Answer>
  readonly expiring: ReadonlyMap<string, Milliseconds>
}

const LEASE: Milliseconds = 10 * MINUTE
const PATIENCE = 3_000

/** All that is settled by nothing but what has already happened is settled when this resolves. */
const drained = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Replies of a store whose caller is gone. */
const never = <T>(): Promise<T> => new Promise<T>(() => {})

const COPY = `redis.call('SELECT', 1) redis.call('FLUSHDB') redis.call('SELECT', 0)
for _, key in ipairs(redis.call('KEYS', '*')) do redis.call('COPY', key, key, 'DB', 1, 'REPLACE') end`
const SWAP = `redis.call('SWAPDB', 0, 1) redis.call('SELECT', 1) redis.call('FLUSHDB') redis.call('SELECT', 0)`
const NEW_IDENTITY: Command = ["DEBUG", "CHANGE-REPL-ID"]

export class World {
  readonly setting: Setting
  readonly config: Config
  readonly tenants: readonly string[]
  readonly entries: Entry[] = []
  readonly taken: Taken[] = []
  readonly commits: Commit[] = []
  readonly letters: Letter[] = []
  /** What happened, for people. */
  readonly trace: string[] = []
  /** Tenants whose epochs fell, as neither data nor observer nor clock survived: what depends on them is not promised. */
  readonly fallen = new Set<string>()
  /** When passes to come were last lost with the rest. */
  passesLostAt: Tick = -1
  readonly #servers: Servers
  readonly #direct: Store
  readonly #mute: Store
  #tick: Tick = 0
  #now: Milliseconds = 1_800_000_000_000
  #redisAhead: Milliseconds = 0
  #relays = 0
  readonly actors: (Actor | undefined)[] = [undefined, undefined]
  #answers = new Map<string, Answer>()
  /** Keys that Redis drops by itself, and when: by a history's clock, which is faster than its own. */
  #expiring = new Map<string, Milliseconds>()
  #snapshot: Snapshot | undefined
  readonly #peak = new Map<string, Epoch>()
  readonly #highest = new Map<string, Epoch>()
  readonly #lossAt = new Map<string, Tick>()
  /** Lanes that may find that they cannot read across. */
  readonly #mayResync = new Set<string>()
  readonly #moods = new Map<string, { mood: Mood; left: number; retryAfter: Milliseconds }>()
  readonly #poison = new Set<string>()
  /** What some resync said, which may have been refused and put back since. */
  readonly #ofResyncs = new Set<string>()
  readonly #seenLetters = new Set<string>()
  readonly #published: Publishing[] = []

  constructor(setting: Setting, servers: Servers) {
    this.setting = setting
    this.config = configOf(setting)
    this.tenants = ["t-one", "t-two"].slice(0, setting.tenants)
    this.#servers = servers
    this.#direct = this.#storeOf(servers.store)
    this.#mute = this.#storeOf(servers.mute)
    for (const tenant of this.tenants) this.#losing(tenant)
  }

  /** Begins with an empty Redis and one relay. */
  async begin(): Promise<void> {
    this.#snapshot = undefined
    await this.#admin(["FLUSHALL"])
    this.start(0)
    if (!this.setting.levelled) return
    for (let tenant = 0; tenant < this.tenants.length; tenant += 1)
      await this.publish({ tenant, inputs: [{ namespace: "blog" }], isMute: false, isAnswerLost: false })
    await this.level(0)
  }

  // What a history can do.

  start(slot: number): void {
    if (this.actors[slot]) return
    const id = `relay-${(this.#relays += 1)}`
    const clock = manualClock(this.#now)
    const drivers: FakeDriver[] = []
    const lanes: Lane[] = []
    const actor: Actor = {
      id,
      clock,
      steps: [],
      calls: [],
      memories: new Map(this.tenants.map((tenant) => [tenant, new Memory()])),
      lanes,
      drivers,
      polling: new Set(),
      reads: new Map(),
      state: "running",
      wasHarmed: false,
    }
    for (const tenant of this.tenants) {
      for (const [name, target] of Object.entries(this.config.targets)) {
        const capabilities = CAPABILITIES[name]
        if (!capabilities) throw new Error(`nobody knows what ${name} can do`)
        const driver = fakeDriver(capabilities, (batch) => this.#call(actor, name, batch))
        drivers.push(driver)
        const store = this.#gated(actor, name)
        const paces =
          this.setting.paced && name === "hook"
            ? [
                {
                  limit: "rate" as const,
                  bucket: "rate",
                  perSecond: 5,
                  burst: 3,
                  per: "call" as const,
                  kinds: ["namespace", "tag", "prefix"] as const,
                },
              ]
            : []
        const pacer = createPacer({ store, clock, account: name, paces })
        const emit = (event: string, payload: object) => {
          this.trace.push(`    ${id} ${tenant}/${name} ${event} ${JSON.stringify(payload)}`)
          if (event === "lane:failed" && !actor.wasHarmed)
            this.#violated(`a lane failed by itself: ${JSON.stringify(payload)}`)
        }
        lanes.push(
          new Lane({
            tenant,
            name,
            config: this.config,
            target,
            capabilities,
            driver,
            pacer,
            store,
            clock,
            relay: id,
            emit,
          }),
        )
      }
    }
    this.actors[slot] = actor
    this.trace.push(`${id} starts`)
  }

  /** Its next `done` steps still happen, but nobody hears of them. */
  async crash(slot: number, done: number, areCallsTaken: boolean): Promise<void> {
    const actor = this.actors[slot]
    if (!actor) return
    this.trace.push(`${actor.id} crashes`)
    actor.state = "dead"
    this.actors[slot] = undefined
    for (const step of actor.steps.splice(0).slice(0, done)) await step.effect().catch(() => {})
    if (areCallsTaken) for (const call of actor.calls) await call.effect()
    this.#checkDrivers(actor)
  }

  freeze(slot: number): void {
    const actor = this.actors[slot]
    if (actor) actor.state = "frozen"
    this.trace.push(`${actor?.id} is frozen`)
  }

  async thaw(slot: number): Promise<void> {
    const actor = this.actors[slot]
    if (actor?.state !== "frozen") return
    this.trace.push(`${actor.id} goes on`)
    actor.state = "running"
    actor.clock.advance(0)
    await drained()
  }

  poll(slot: number): void {
    const actor = this.actors[slot]
    if (actor?.state !== "running") return
    for (const tenant of this.tenants) {
      if (actor.polling.has(tenant)) continue
      actor.polling.add(tenant)
      void this.#look(actor, tenant).finally(() => actor.polling.delete(tenant))
    }
  }

  /** As a wake does that was heard. */
  nudge(slot: number, lane: number): void {
    const actor = this.actors[slot]
    if (actor?.state === "running") actor.lanes[lane % actor.lanes.length]?.nudge()
  }

  /** The connection breaks: of what was sent, the first `done` were carried out. */
  async cut(slot: number, done: number): Promise<void> {
    const actor = this.actors[slot]
    if (!actor || actor.state !== "running" || actor.steps.length === 0) return
    actor.wasHarmed = true
    const steps = actor.steps.splice(0)
    this.trace.push(
      `${actor.id} hears nothing of ${steps.map(({ label }) => label).join(", ")}; done: ${done}`,
    )
    for (const step of steps.slice(0, done)) await step.effect().catch(() => {})
    for (const step of steps) step.fail(new StoreError("unreachable", "Redis did not answer"))
    await drained()
  }

  /** Lets so many steps run, each chosen among what could go on. */
  async go(picks: readonly number[]): Promise<void> {
    for (const pick of picks) {
      const steps = this.#runnable()
      const step = steps[pick % steps.length]
      if (!step) return
      await step.run()
    }
  }

  /** One relay looks at everything and goes on until it rests, or sleeps. */
  async level(slot: number): Promise<void> {
    this.poll(slot)
    await drained()
    await this.#goOn(() => this.#stepsOf(this.actors[slot]))
  }

  /** What was frozen in the middle of something wakes up when another has the lane. */
  async overtake(slot: number): Promise<void> {
    this.freeze(slot)
    await this.advance(LEASE)
    this.start(1 - slot)
    await this.thaw(1 - slot)
    await this.level(1 - slot)
    await this.thaw(slot)
  }

  async advance(length: Milliseconds): Promise<void> {
    this.#now += length
    for (const actor of this.actors) {
      if (actor?.state === "running") actor.clock.advance(length)
      else actor?.clock.jump(length)
    }
    const over = [...this.#expiring].filter(([, until]) => until <= this.#now).map(([key]) => key)
    for (const key of over) this.#expiring.delete(key)
    if (over.length > 0) await this.#admin(["DEL", ...over])
    await drained()
  }

  async jump(who: "redis" | 0 | 1, length: Milliseconds): Promise<void> {
    if (who === "redis") this.#redisAhead += length
    else if (length > 0) this.actors[who]?.clock.advance(length)
    else this.actors[who]?.clock.jump(length)
    await drained()
  }

  /** As where the clock of Redis runs ahead of everybody's. */
  async loseLeases(): Promise<void> {
    const keys = [...this.#expiring.keys()]
    this.#expiring.clear()
    if (keys.length > 0) await this.#admin(["DEL", ...keys])
  }

  async restart(): Promise<void> {
    await this.#admin(NEW_IDENTITY)
  }

  async empty(): Promise<void> {
    await this.#admin(["FLUSHDB"])
    await this.#lost({ answers: new Map(), expiring: new Map() })
  }

  async snapshot(): Promise<void> {
    await this.#admin(["EVAL", COPY, "0"])
    this.#snapshot = { answers: new Map(this.#answers), expiring: new Map(this.#expiring) }
  }

  get hasSnapshot(): boolean {
    return this.#snapshot !== undefined
  }

  /** The replica of the snapshot is promoted: what was written since is gone. */
  async failOver(): Promise<void> {
    if (!this.#snapshot) return
    await this.#admin(["EVAL", SWAP, "0"])
    await this.#admin(NEW_IDENTITY)
    const snapshot = this.#snapshot
    this.#snapshot = undefined
    await this.#lost(snapshot)
  }

  async remove(tenant: number, what: "head" | "log" | "cursor"): Promise<void> {
    const key = { head: headKey, log: logKey, cursor: cursorKey }[what](this.#tenant(tenant))
    await this.#admin(["DEL", key])
    await this.#lost()
  }

  async trim(tenant: number): Promise<void> {
    await this.#admin(["XTRIM", logKey(this.#tenant(tenant)), "MAXLEN", "=", "1"])
    await this.#lost()
  }

  vendor(target: number, mood: Mood, left: number, retryAfter: Milliseconds): void {
    this.#moods.set(TARGETS[target % TARGETS.length] ?? "", { mood, left, retryAfter })
  }

  /** A value that no vendor takes any more, alone or among others. */
  poison(value: string): void {
    this.#poison.add(value)
  }

  heal(): void {
    this.#poison.clear()
    this.#moods.clear()
  }

  async publish(publishing: Publishing): Promise<void> {
    const { inputs, key, isMute, isAnswerLost } = publishing
    const tenant = this.#tenant(publishing.tenant)
    const plans = inputs.map((input) => this.#planOf(tenant, input))
    const fingerprint = encodeURIComponent(JSON.stringify(inputs))
    const outcome = await publish(isMute ? this.#mute : this.#direct, {
      tenant,
      entries: plans.map(({ plan }) => plan),
      maxEntries: this.config.log.maxEntries,
      ...(key ? { idempotency: { ...key, fingerprint } } : {}),
    })
    const name = key && `${tenant} ${key.principal} ${key.key}`
    const known = name === undefined ? undefined : this.#answers.get(name)
    const expected = known ? (known.fingerprint === fingerprint ? "duplicate" : "reused") : "accepted"
    if (outcome.status !== expected)
      this.#violated(`I5: a publish was ${outcome.status} that should be ${expected}`)
    if (key && !known) this.#published.push(publishing)
    this.trace.push(
      `${tenant} ${outcome.status} ${"entries" in outcome ? outcome.entries.map(({ epoch }) => epoch).join(" ") : ""} ${JSON.stringify(inputs)}${isAnswerLost ? ", unheard" : ""}`,
    )
    if (!("entries" in outcome)) return
    const epochs = outcome.entries.map(({ epoch }) => epoch)
    if (outcome.status === "duplicate") {
      if (known && epochs.join(" ") !== known.epochs.join(" "))
        this.#violated(`I5: ${known.epochs.join(" ")} were answered as ${epochs.join(" ")}`)
      // Of the same epoch there may be one more, that a log had which is gone: the latest is meant.
      for (const epoch of epochs) {
        const entry = this.entries.findLast((one) => one.tenant === tenant && one.epoch === epoch)
        if (entry && !isAnswerLost) entry.isAcknowledged = true
      }
      return
    }
    if (name !== undefined) this.#answers.set(name, { fingerprint, epochs })
    for (const [index, { epoch, seq }] of outcome.entries.entries()) {
      const one = plans[index]
      if (!one) throw new Error("an entry that nobody asked for")
      const { plan, asked } = one
      this.#enter({
        tenant,
        epoch,
        seq,
        generation: outcome.generation,
        at: this.#tick,
        kind: "publish",
        asked,
        isSettling: plan.body.settling === true,
        passes: plan.passes.flatMap(({ kind, secondPass }) =>
          secondPass === undefined ? [kind] : [kind, "second" as const],
        ),
        isAcknowledged: !isAnswerLost,
      })
    }
  }

  /** A publisher asks once more for what it published under a key. */
  async repeat(which: number, other: readonly InvalidationInput[] | undefined): Promise<void> {
    const before = this.#published[which % this.#published.length]
    if (before) await this.publish({ ...before, isAnswerLost: false, ...(other ? { inputs: other } : {}) })
  }

  /** Vendors are well, nothing fails any more, and everything comes to rest, however long that takes. */
  async rest(): Promise<void> {
    this.trace.push("the faults are over")
    this.heal()
    if (!this.actors.some((actor) => actor?.state === "running")) {
      const free = this.actors.indexOf(undefined)
      if (free < 0) await this.thaw(0)
      else this.start(free)
    }
    await this.#untilLevel()
    // Who was asleep all that time has nothing to add.
    for (const slot of this.actors.keys()) await this.thaw(slot)
    await this.#untilLevel()
    for (const actor of this.actors) if (actor) this.#checkDrivers(actor)
  }

  /** Dead letters that are still there. */
  async lettersLeft(): Promise<Letter[]> {
    const left = new Set<string>()
    for (const tenant of this.tenants)
      for (const target of TARGETS)
        for (const text of await this.#readLetters(tenant, target)) left.add(`${tenant} ${target} ${text}`)
    return this.letters.filter(({ tenant, target, text }) => left.has(`${tenant} ${target} ${text}`))
  }

  /** Somebody puts a dead letter back. */
  async replay(target: number, which: number): Promise<void> {
    const name = TARGETS[target % TARGETS.length] ?? ""
    for (const tenant of this.tenants) {
      const letters = await listLetters(
        this.store,
        { tenant, target: name },
        { after: undefined, limit: 100 },
      )
      const one = letters[which % letters.length]
      if (!one) continue
      this.trace.push(`${tenant}/${name} ${one.id} is put back`)
      await replayLetter(this.#direct, { tenant, target: name }, one.id, this.#now)
    }
  }

  get store(): Store {
    return this.#servers.store
  }

  // How it is done.

  #planOf(tenant: string, input: InvalidationInput): { plan: EntryPlan; asked: Entry["asked"] } {
    const parsed = parseInvalidation(input)
    if ("errors" in parsed) throw new Error(`not an invalidation: ${JSON.stringify(parsed.errors)}`)
    const settings = settingsFor(this.config, tenant, parsed.value)
    if (!settings) throw new Error(`${input.namespace} is not declared`)
    const plan = planEntry(parsed.value, settings, { token: "deploy" }, { settle: 0, secondPass: 0 })
    return { plan, asked: { ...input, mode: parsed.value.mode } }
  }

  #tenant = (index: number): string => this.tenants[index % this.tenants.length] ?? ""

  async #look(actor: Actor, tenant: string): Promise<void> {
    const store = this.#gated(actor, undefined)
    try {
      await actor.memories.get(tenant)?.adopt(store, tenant, actor.id, this.config)
      for (const lane of actor.lanes) if (lane.tenant === tenant) lane.nudge()
      await runPasses({ store, tenant, config: this.config, clock: actor.clock, relay: actor.id })
    } catch (error) {
      if (!(error instanceof StoreError) || !actor.wasHarmed)
        this.#violated(`a poll failed by itself: ${String(error)}`)
    }
  }

  /** A store whose every step waits to be let run. */
  #gated(actor: Actor, target: string | undefined): Store {
    const gate = (label: string, effect: () => Promise<Reply>): Promise<Reply> => {
      if (actor.state === "dead") return never()
      const { promise, resolve, reject } = Promise.withResolvers<Reply>()
      const step: Step = {
        label,
        effect,
        fail: reject,
        run: async () => {
          actor.steps.splice(actor.steps.indexOf(step), 1)
          this.trace.push(`  ${actor.id} ${target ?? ""} ${label}`)
          try {
            resolve(await effect())
          } catch (error) {
            if (!(error instanceof StoreError)) throw error
            reject(error)
          }
          await drained()
        },
      }
      actor.steps.push(step)
      return promise
    }
    const { store } = this.#servers
    return {
      script: (script, keys, args) =>
        gate(script.name, () =>
          this.#execute(store, script, keys, args, target === undefined ? undefined : { actor, target }),
        ),
      pipeline: (commands) =>
        gate(commands.map(([name]) => name).join("+"), async () => {
          this.#passTime()
          for (const [name, key = "", , px, length] of commands) {
            if (name === "SET" && px === "PX") this.#expiring.set(key, this.#now + Number(length))
          }
          return store.pipeline(commands)
        }) as Promise<readonly Reply[]>,
    }
  }

  /** What publishers use: nothing of it waits. */
  #storeOf(store: Store): Store {
    return {
      script: (script, keys, args) => this.#execute(store, script, keys, args, undefined),
      pipeline: (commands) => store.pipeline(commands),
    }
  }

  #passTime(): void {
    this.#tick += 1
    this.#now += 1
    for (const actor of this.actors) actor?.clock.jump(1)
  }

  get #redisTime(): Milliseconds {
    return this.#now + this.#redisAhead
  }

  async #execute(
    store: Store,
    script: Script,
    keys: readonly string[],
    args: readonly string[],
    by: { readonly actor: Actor; readonly target: string } | undefined,
  ): Promise<Reply> {
    this.#passTime()
    const tenant = this.tenants.find((one) => keys[0]?.includes(`{${one}}`)) ?? ""
    const ours = timed(script)
    const peek: Command[] = []
    if (script.name === "publish" || script.name === "adopt")
      peek.push(["GET", headKey(tenant)], ["XREVRANGE", logKey(tenant), "+", "-", "COUNT", "1"])
    if (script.name === "commit" && by) peek.push(["HGET", cursorKey(tenant), by.target])
    if (ours.text !== script.text) {
      const time = this.#redisTime
      peek.push(["HSET", CLOCK, "s", String(Math.floor(time / 1_000)), "us", String((time % 1_000) * 1_000)])
    }
    // Over one connection, and so before it.
    const [before, reply] = await Promise.all([
      peek.length > 0 ? store.pipeline(peek) : [],
      store.script(ours, keys, args),
    ])
    const answer = asList(reply).map((part) => asText(part) ?? "")
    switch (script.name) {
      case "publish":
        if (answer[0] === "ok") await this.#sawPublish(tenant, before, answer[1] ?? "", keys[3] ?? "")
        break
      case "adopt":
        this.#sawAdopt(tenant, before, answer, Number(args[2]))
        break
      case "acquire":
        if (reply !== null) this.#expiring.set(keys[0] ?? "", this.#now + Number(args[2]))
        break
      case "release":
        this.#expiring.delete(keys[0] ?? "")
        break
      case "read":
        if (by) {
          const lane = `${tenant}/${by.target}`
          by.actor.reads.set(lane, { at: this.#tick, mayResync: this.#mayResync.has(lane) })
        }
        break
      case "commit":
        // Fenced by what the whole cursor was: whoever was overtaken writes nothing, however late it comes.
        if (answer[0] === "ok" && asText(before[0]) !== args[1])
          this.#violated(`a commit for ${args[1]} went through where the cursor was ${asText(before[0])}`)
        if (by && answer[0] === "ok") await this.#sawCommit(tenant, by, args)
        break
      default:
        break
    }
    return reply
  }

  async #sawPublish(
    tenant: string,
    before: readonly Reply[],
    told: string,
    answerKey: string,
  ): Promise<void> {
    const [generation, ...pairs] = told.split(" ")
    const epochs = pairs.map((pair) => Number(pair.split(":")[0]))
    this.#rises(tenant, before, epochs, 0)
    const pass = /:idem:relay:(\d+):(settle|second|stale)$/.exec(answerKey)
    const [epoch] = epochs
    if (!pass || epoch === undefined) return
    const [found] = await this.#servers.store.pipeline([
      ["XRANGE", logKey(tenant), `${epoch}-0`, `${epoch}-0`],
    ])
    const [entry] = parseLogEntries(found)
    if (!entry) throw new Error("a pass that was appended is not in the log")
    const { namespace, tags, urls, prefixes, hosts, mode } = entry.body
    this.#enter({
      tenant,
      epoch,
      seq: entry.seq,
      generation: Number(generation),
      at: this.#tick,
      kind: "pass",
      asked: {
        ...named(namespace),
        ...filled({ tags, urls, prefixes, hosts }),
        mode,
      },
      isSettling: entry.body.settling === true,
      passes: [],
      pass: { kind: pass[2] as PassKind, of: Number(pass[1]) },
      isAcknowledged: true,
    })
    this.trace.push(`    ${tenant} pass ${pass[1]}:${pass[2]} is ${epoch}`)
  }

  #sawAdopt(tenant: string, before: readonly Reply[], answer: readonly string[], seen: Epoch): void {
    const [reason, generation, epoch, seq] = answer
    if (parseHead(asText(before[0]))?.epoch === Number(epoch)) return
    this.#rises(tenant, before, [Number(epoch)], seen)
    this.#enter({
      tenant,
      epoch: Number(epoch),
      seq: Number(seq),
      generation: Number(generation),
      at: this.#tick,
      kind: "resync",
      asked: { everything: true, mode: this.setting.resync },
      isSettling: false,
      passes: [],
      isAcknowledged: false,
    })
    this.#losing(tenant)
    this.trace.push(`    ${tenant} resync ${epoch}, as ${reason}`)
  }

  async #sawCommit(
    tenant: string,
    { actor, target }: { readonly actor: Actor; readonly target: string },
    [, held = "", to = "", receipt = "", , , parts = "0"]: readonly string[],
  ): Promise<void> {
    const lane = `${tenant}/${target}`
    const readAt = actor.reads.get(lane)?.at ?? 0
    // A resync that takes its time is owed in parts.
    const isResync = parseJson<RangeReceipt>(receipt)?.resync !== undefined || Number(parts) > 0
    // What was due has no part in the log: the cursor stays.
    if (!held.endsWith(` ${to}`)) {
      this.commits.push({ tenant, target, at: this.#tick, readAt, to: Number(to.split(" ")[1]), isResync })
      if (readAt > (this.#lossAt.get(tenant) ?? 0)) this.#mayResync.delete(lane)
    }
    for (const text of await this.#readLetters(tenant, target)) {
      const name = `${lane} ${text}`
      if (this.#seenLetters.has(name)) continue
      this.#seenLetters.add(name)
      const letter = parseLetter(text)
      if (!letter) throw new Error(`a dead letter that nobody can read: ${text}`)
      this.letters.push({
        text,
        tenant,
        target,
        at: this.#tick,
        epochs: letter.epochs,
        pages: toldOf(letter),
      })
    }
  }

  async #readLetters(tenant: string, target: string): Promise<string[]> {
    const [found] = await this.#servers.store.pipeline([["XRANGE", deadKey(tenant, target), "-", "+"]])
    return asList(found).flatMap((one) => asText(asList(asList(one)[1])[1]) ?? [])
  }

  /** I1, where anything that could know of the highest epoch survived. */
  #rises(tenant: string, before: readonly Reply[], epochs: readonly Epoch[], seen: Epoch): void {
    const [head, top] = before
    const last = parseHead(asText(head))?.epoch ?? 0
    const newest = parseLogEntries(top)[0]?.epoch ?? 0
    for (const epoch of epochs) {
      const highest = this.#highest.get(tenant) ?? 0
      if (epoch <= highest) {
        if (Math.max(last, newest, seen, this.#redisTime * 1_000) >= highest)
          this.#violated(`I1: epoch ${epoch} of ${tenant} comes after ${highest}`)
        this.fallen.add(tenant)
      }
      this.#highest.set(tenant, epoch)
    }
  }

  #enter(entry: Omit<Entry, "isFallen">): void {
    for (const before of this.entries) {
      if (before.tenant === entry.tenant && before.epoch === entry.epoch) before.lostAt ??= this.#tick
    }
    const { tenant, epoch } = entry
    const peak = this.#peak.get(tenant) ?? 0
    this.#peak.set(tenant, Math.max(peak, epoch))
    this.entries.push({ ...entry, isFallen: epoch <= peak })
  }

  #losing(tenant: string): void {
    this.#lossAt.set(tenant, this.#tick)
    for (const target of TARGETS) this.#mayResync.add(`${tenant}/${target}`)
  }

  /** Something stored is gone, or all of it is as it was at a snapshot. */
  async #lost(whole?: Snapshot): Promise<void> {
    this.#tick += 1
    if (whole) {
      this.#answers = new Map(whole.answers)
      this.#expiring = new Map(whole.expiring)
      this.passesLostAt = this.#tick
    }
    for (const tenant of this.tenants) {
      this.#losing(tenant)
      const [log] = await this.#servers.store.pipeline([["XRANGE", logKey(tenant), "-", "+"]])
      const left = new Set(
        parseLogEntries(log).map(({ epoch, seq, generation }) => `${generation} ${epoch} ${seq}`),
      )
      for (const entry of this.entries) {
        const { epoch, seq, generation } = entry
        if (entry.tenant === tenant && !left.has(`${generation} ${epoch} ${seq}`)) entry.lostAt ??= this.#tick
      }
    }
  }

  /** A call to a vendor: it waits to be let arrive. */
  #call(actor: Actor, target: string, batch: Batch): Promise<Outcome> {
    const begun = this.#tick
    const { tenant, mode, values } = batch
    const said = `${mode} ${values.map(({ kind, value }) => `${kind} ${value}`).join(", ")}`
    const pages = values.reduce((all, { kind, value }) => all | reached(kind, value), NONE)
    this.#staysWithin(actor, target, batch, pages, said)
    const { promise, resolve } = Promise.withResolvers<Outcome>()
    const take = (): Outcome => {
      this.taken.push({ tenant, target, mode, pages, begun })
      return accepted
    }
    const answer = (): Outcome => {
      if (values.some(({ kind, value }) => this.#poison.has(`${kind} ${value}`))) return refused()
      const mood = this.#moods.get(target)
      if (!mood || mood.left <= 0) return take()
      mood.left -= 1
      switch (mood.mood) {
        case "trouble":
          return trouble()
        case "pause":
          return trouble("429", mood.retryAfter)
        case "unauthorised":
          return unauthorised
        case "unsupported":
          return { outcome: "unsupported", detail: "not here" }
        case "refusing":
          // As of a clock that is off: whatever was asked, in the same words.
          return refused("invalid timestamp")
        case "deaf":
          take()
          return trouble("no answer")
      }
    }
    const step: Step = {
      label: said,
      fail() {},
      effect: async () => answer(),
      run: async () => {
        actor.calls.splice(actor.calls.indexOf(step), 1)
        this.#passTime()
        const outcome = answer()
        this.trace.push(`  ${actor.id} ${target} called: ${said}: ${outcome.outcome}`)
        resolve(outcome)
        await drained()
      },
    }
    if (actor.state !== "dead") actor.calls.push(step)
    return promise
  }

  /** I6: nothing outside the namespaces concerned, unless by a resync or by leave. */
  #staysWithin(actor: Actor, target: string, batch: Batch, pages: Pages, said: string): void {
    const { tenant, epochs, values } = batch
    const covered = this.entries.filter(
      (one) => one.tenant === tenant && epochs.first <= one.epoch && one.epoch <= epochs.last,
    )
    const may = covered.reduce((all, entry) => all | mayReach(entry.asked), NONE)
    // Parts of a resync are sent when their time has come, by what they were read for; what was refused of one may be
    // put back.
    const lane = `${tenant}/${target}`
    if ((pages & ~may) === NONE || this.setting.spread !== "0") return
    if (actor.reads.get(lane)?.mayResync) {
      for (const { kind, value } of values) this.#ofResyncs.add(`${lane} ${kind} ${value}`)
      return
    }
    if (values.every(({ kind, value }) => this.#ofResyncs.has(`${lane} ${kind} ${value}`))) return
    if (this.setting.allowEverything && values.some(({ kind }) => kind === "everything")) return
    this.#violated(`I6: ${target} was told ${said} of ${tenant} for ${epochs.first} to ${epochs.last}`)
  }

  #checkDrivers(actor: Actor): void {
    for (const { complaints } of actor.drivers)
      if (complaints.length > 0) this.#violated(`a vendor complains: ${complaints.join("; ")}`)
  }

  #stepsOf(actor: Actor | undefined): Step[] {
    return actor?.state === "running" ? [...actor.steps.slice(0, 1), ...actor.calls] : []
  }

  #runnable(): Step[] {
    return this.actors.flatMap((actor) => this.#stepsOf(actor))
  }

  async #goOn(steps: () => Step[]): Promise<void> {
    for (let count = 0; count < PATIENCE; count += 1) {
      const [step] = steps()
      if (!step) return
      await step.run()
    }
    this.#violated("it goes on for ever")
  }

  async #untilLevel(): Promise<void> {
    for (let round = 1; round <= 60; round += 1) {
      for (const slot of this.actors.keys()) this.poll(slot)
      await drained()
      await this.#goOn(() => this.#runnable())
      if (await this.#isLevel()) return
      // To the next who sleeps; and now and then beyond what anybody holds.
      const sleepers = this.actors.flatMap((actor) =>
        actor?.state === "running" ? actor.clock.sleepers : [],
      )
      await this.advance(round % 5 === 0 ? LEASE + 1 : Math.max(1, Math.min(LEASE, ...sleepers)))
    }
    this.#violated("it does not come to rest")
  }

  async #isLevel(): Promise<boolean> {
    for (const tenant of this.tenants) {
      const [headText, cursors, ...counts] = await this.#servers.store.pipeline([
        ["GET", headKey(tenant)],
        ["HGETALL", cursorKey(tenant)],
        ["ZCARD", laterKey(tenant)],
        ["ZCARD", laterAfterKey(tenant)],
        ...TARGETS.map((target) => ["ZCARD", dueKey(tenant, target)]),
      ])
      const head = parseHead(asText(headText))
      if (!head || counts.some((count) => Number(count) > 0)) return false
      const held = readHash(cursors)
      const at = `${head.generation} ${head.epoch} ${head.seq}`
      if (!TARGETS.every((target) => held.get(target)?.endsWith(` ${at}`))) return false
    }
    return true
  }

  #admin(command: Command): Promise<readonly Reply[]> {
    this.trace.push(
      command[0] === "EVAL" ? (command[1] === COPY ? "a snapshot" : "a failover") : command.join(" "),
    )
    return this.#servers.store.pipeline([command])
  }

  #violation: string | undefined

  #violated(what: string): void {
    this.#violation ??= what
    this.trace.push(`!!! ${what}`)
  }

  /** @throws {Error} what was seen that must never be */
  check(): void {
    if (this.#violation !== undefined) throw new Error(this.#violation)
  }
}
