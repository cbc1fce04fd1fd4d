import { isDeepStrictEqual } from "node:util"
import { createClient } from "redis"
import { type Reply, type Script, type Store, StoreError } from "../../protocol/store.ts"
import type { Interpreter, ScriptOutcome } from "./lua.ts"

/**
 * A store that runs each script by EVAL and then, on a copy of its keys as they were, by each of these interpreters. A
 * script whose reply or whose keys afterwards differ rejects, saying how. So the tests of scripts hold for each Lua.
 */
export interface Comparing extends AsyncDisposable {
  /** Of the Redis that the interpreters call. Its database 0 is the one that counts. */
  over(store: Store): Store
  /** Names of the scripts that were compared so far. */
  readonly compared: ReadonlySet<string>
}

const TIME_CALL = "redis.call('TIME')"

/** Of a reply or a key that differs, in characters. */
const MOST_SHOWN = 500

/** Between one run and the next, at most, in ms. */
const TIME_PASSED = 60_000

export async function startComparing(url: string, interpreters: readonly Interpreter[]): Promise<Comparing> {
  const admin = createClient({ url, RESP: 2, disableOfflineQueue: true })
  admin.on("error", () => {})
  await admin.connect()
  const compared = new Set<string>()
  /** One script, or pipeline, at a time: nothing else may change the keys between copy and run. */
  let turn: Promise<unknown> = Promise.resolve()
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const next = turn.then(work, work)
    turn = next.catch(() => undefined)
    return next
  }

  async function copy(keys: readonly string[], database: number): Promise<void> {
    await admin.sendCommand(["SELECT", String(database)])
    await admin.sendCommand(["FLUSHDB"])
    await admin.sendCommand(["SELECT", "0"])
    for (const key of keys) await admin.sendCommand(["COPY", key, key, "DB", String(database), "REPLACE"])
  }

  /** A Redis that is full refuses a script at its first command alone, and what an interpreter sends at each. */
  const isBounded = async () =>
    (await admin.sendCommand<readonly string[]>(["CONFIG", "GET", "maxmemory"]))[1] !== "0"

  async function read(keys: readonly string[], database: number, hasOwnIds: boolean): Promise<unknown[]> {
    await admin.sendCommand(["SELECT", String(database)])
    const values: unknown[] = []
    for (const key of keys) values.push([key, await readKey(key, hasOwnIds)])
    await admin.sendCommand(["SELECT", "0"])
    return values
  }

  async function readKey(key: string, hasOwnIds: boolean): Promise<unknown> {
    const kind = await admin.sendCommand<string>(["TYPE", key])
    const expires = (await admin.sendCommand<number>(["PTTL", key])) >= 0
    const ask = (...command: string[]) => admin.sendCommand<Reply>(command)
    switch (kind) {
      case "string":
        return { expires, text: await ask("GET", key) }
      case "hash": {
        const flat = (await ask("HGETALL", key)) as readonly string[]
        const fields = flat.flatMap((name, index) => (index % 2 === 0 ? [[name, flat[index + 1]]] : []))
        return { expires, fields: fields.toSorted(([a = ""], [b = ""]) => (a < b ? -1 : 1)) }
      }
      case "zset":
        return { expires, members: await ask("ZRANGE", key, "0", "-1", "WITHSCORES") }
      case "stream": {
        const entries = (await ask("XRANGE", key, "-", "+")) as readonly (readonly [string, Reply])[]
        return { expires, entries: hasOwnIds ? entries.map(([, fields]) => fields) : entries }
      }
      default:
        return kind
    }
  }

  async function compare(store: Store, script: Script, keys: readonly string[], args: readonly string[]) {
    // One moment for all of them.
    const now = await admin.sendCommand<readonly string[]>(["TIME"])
    const text = script.text.replaceAll(TIME_CALL, `({'${now.join("', '")}'})`)
    // Ids that Redis itself gives are of the moment.
    const hasOwnIds = text.includes("'*'")
    const named = [...new Set(keys)]
    for (const each of interpreters) await copy(named, each.database)

    const asked = store.pipeline([["EVAL", text, String(keys.length), ...keys, ...args]])
    const outcome = await asked.then(
      ([reply = null]): ScriptOutcome => ({ reply }),
      (error: unknown): ScriptOutcome => {
        if (!(error instanceof StoreError) || error.failure !== "refused") throw error
        return { error: error.message }
      },
    )
    const after = await read(named, 0, hasOwnIds)
    for (const one of interpreters) {
      const theirs = await one.run(text, keys, args)
      const left = await read(named, one.database, hasOwnIds)
      // What it answered tells more than what it left: where it failed, why.
      const isAnswered = isSame(outcome, theirs, text.includes("'PTTL'"))
      const differing = after.findIndex((key, index) => !isDeepStrictEqual(key, left[index]))
      if (differing >= 0 || !isAnswered) {
        const seen = isAnswered ? [after[differing], left[differing]] : [outcome, theirs]
        const [byEval, byLua] = seen.map((each) => JSON.stringify(each).slice(0, MOST_SHOWN))
        throw new Error(
          `${script.name} is another thing under ${one.name}: ${byEval} by EVAL, ${byLua} there`,
        )
      }
      for (const message of one.published.splice(0))
        if (/\d\.\d|\d[eE][+-]?\d/.test(message))
          throw new Error(`${script.name} publishes no whole numbers under ${one.name}: ${message}`)
    }
    compared.add(script.name)
    return outcome
  }

  return {
    compared,
    over: (store) => ({
      pipeline: (commands) => inTurn(() => store.pipeline(commands)),
      script: (script, keys, args) =>
        inTurn(async () => {
          if (await isBounded()) return store.script(script, keys, args)
          const outcome = await compare(store, script, keys, args)
          if ("error" in outcome) throw new StoreError("refused", outcome.error)
          return outcome.reply
        }),
    }),
    [Symbol.asyncDispose]: () => {
      admin.destroy()
      return Promise.resolve()
    },
  }
}

/** Of an error its code counts: Redis adds where in the script it was. What is left of a time may be less by now. */
function isSame(one: ScriptOutcome, other: ScriptOutcome, hasTimeLeft: boolean): boolean {
  if ("error" in one) return "error" in other && codeOf(one.error) === codeOf(other.error)
  return "reply" in other && isSameReply(one.reply, other.reply, hasTimeLeft)
}

function isSameReply(one: Reply, other: Reply, hasTimeLeft: boolean): boolean {
  if (Array.isArray(one) && Array.isArray(other))
    return (
      one.length === other.length &&
      one.every((part: Reply, index) => isSameReply(part, other[index] as Reply, hasTimeLeft))
    )
  if (hasTimeLeft && typeof one === "number" && typeof other === "number")
    return Math.abs(one - other) < TIME_PASSED
  return one === other
}

const codeOf = (message: string): string => message.split(" ", 1)[0] ?? ""
