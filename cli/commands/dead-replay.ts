import type { Command } from "commander"
import type { InvalidationRecord } from "../../protocol/record.ts"
import type { Milliseconds } from "../../protocol/time.ts"
import { CliError, EXIT, type ExitCode, exitsWith } from "../exit.ts"
import { ALL_EXITS, addHelp } from "../help.ts"
import { type Connection, RefusedCall, send } from "../http.ts"
import { tellingLast } from "../interrupt.ts"
import { isRecord } from "../json.ts"
import {
  checkLetterId,
  checkTarget,
  epochsOf,
  fetchLetters,
  fetchLettersFrom,
  type Letter,
  letterPath,
} from "../letter.ts"
import { type AddressOptions, addCommonOptions, connectionOf } from "../options.ts"
import { print, printJson, progress, tell, tellError } from "../output.ts"
import { selectorsOf, stateCell, text } from "../record-view.ts"
import { table } from "../table.ts"
import {
  type Fate,
  fateOf,
  type TargetWaited,
  type Wait,
  waitForTarget,
  waitOption,
  waitTime,
} from "../wait.ts"

interface ReplayOptions extends AddressOptions {
  readonly all?: boolean
  readonly wait?: Wait
}

/** `tidemark dead replay`: puts back what was given up on. */
export function addDeadReplay(parent: Command): void {
  const command = parent
    .command("replay")
    .summary("put a dead letter back, or all of a target")
    .description("Puts a dead letter back: the target's lane sends it once more, as it was published.")
    .argument("<target>", "the target's name")
    .argument("[id]", "as dead list shows it; left out with --all")
    .option("--all", "every one that the target has")
    .addOption(waitOption("wait until the target is done with it"))
  addCommonOptions(command, "operates").action(exitsWith(replay))
  addHelp(command, {
    notes: [
      "The token needs the scope operate, with --wait also read:*.",
      "With --wait 0 is done, 1 dead again, 3 not known to be done. --json prints the answer, with --wait also the\nrecords of the invalidations that asked for it; with --all {target, items: [{id, state, error?}]}.",
    ],
    examples: [
      ["tidemark dead replay www-cloudflare 1795272188595-0 --wait", "one; ends when it is purged"],
      ["tidemark dead replay www-cloudflare --all --wait=120", "all, once the vendor is mended"],
    ],
    environment: ["TIDEMARK_RELAY_URL", "TIDEMARK_TOKEN", "TIDEMARK_CONFIG"],
    exits: ALL_EXITS,
  })
}

async function replay(
  givenTarget: string,
  givenId: string | undefined,
  options: ReplayOptions,
): Promise<ExitCode> {
  const target = checkTarget(givenTarget)
  if ((givenId === undefined) !== (options.all === true)) {
    throw new CliError("usage", "say which: an id as dead list shows it, or --all")
  }
  const id = givenId === undefined ? undefined : checkLetterId(givenId)
  const connection = connectionOf(options, "relay")
  return id === undefined
    ? replayAll(connection, target, options)
    : replayOne(connection, target, id, options)
}

async function replayOne(
  connection: Connection,
  target: string,
  id: string,
  { wait, json }: ReplayOptions,
): Promise<ExitCode> {
  // Once it is put back nothing tells any more which invalidations it was of.
  const found = wait === undefined ? undefined : await fetchLettersFrom(connection, target, id)
  const answer = await putBack(connection, target, id)
  if (!found || wait === undefined) {
    if (json) printJson(answer)
    else print(`put back ${id}: pending at ${target}`)
    return EXIT.done
  }
  const newest = found.at(-1)?.id
  const ended = await follow(connection, target, { back: [found[0]], newest, wait: waitTime(wait) })
  const [outcome] = ended.outcomes
  if (json) printJson({ ...answer, state: outcome?.state, records: ended.records })
  else for (const line of outcomeTable(ended.outcomes)) print(line)
  return endOf(target, ended)
}

async function replayAll(
  connection: Connection,
  target: string,
  { wait, json }: ReplayOptions,
): Promise<ExitCode> {
  // Listed before any is put back: what is refused again is a new dead letter, at the end of the same list.
  const { items: letters } = await fetchLetters(connection, target, { limit: Infinity })
  const { back, gone } = await putAllBack(connection, target, letters)
  const toldGone = gone > 0 ? `, ${gone} had gone meanwhile` : ""
  if (!json) print(`put back ${back.length} of ${target}${toldGone}`)
  if (wait === undefined) {
    if (json) printJson({ target, items: back.map(({ id }) => ({ id, state: "pending" })) })
    return EXIT.done
  }
  const newest = letters.at(-1)?.id
  const ended = await follow(connection, target, { back, newest, wait: waitTime(wait) })
  if (json) printJson({ target, items: ended.outcomes })
  else showOutcomes(ended.outcomes)
  return endOf(target, ended)
}

/** @throws {CliError} as `send`; `failed` where the answer is none of ours */
async function putBack(
  connection: Connection,
  target: string,
  id: string,
): Promise<Readonly<Record<string, unknown>>> {
  const answer = await send(connection, { method: "POST", path: `${letterPath(target, id)}/replay` })
  if (isRecord(answer) && answer["id"] === id) return answer
  throw new CliError(
    "failed",
    `${connection.url.href} answered something else than the id: is that a Tidemark relay?`,
  )
}

interface PutBack {
  readonly back: readonly Letter[]
  /** How many somebody else had put back or deleted meanwhile. */
  readonly gone: number
}

/** @throws {CliError} what stopped it; how far it came is told */
async function putAllBack(
  connection: Connection,
  target: string,
  letters: readonly Letter[],
): Promise<PutBack> {
  const back: Letter[] = []
  let gone = 0
  const line = progress()
  try {
    for (const letter of letters) {
      line.show(`${back.length} of ${letters.length} put back`)
      try {
        await putBack(connection, target, letter.id)
        back.push(letter)
      } catch (error) {
        if (!(error instanceof RefusedCall) || error.status !== 404) throw error
        gone += 1
      }
    }
    return { back, gone }
  } catch (error) {
    line.clear()
    tell(`put back ${back.length} of ${letters.length}; the same command goes on with the rest`)
    throw error
  } finally {
    line.clear()
  }
}

interface Outcome {
  readonly id: string
  readonly state: Fate
  readonly error?: string
}

interface Followed {
  readonly outcomes: readonly Outcome[]
  readonly records: readonly InvalidationRecord[]
  /** Why no more is known. */
  readonly trouble?: CliError
  /** Some invalidation is dead for another dead letter than those that were put back. */
  readonly isOtherLeft: boolean
}

interface Following {
  readonly back: readonly Letter[]
  /** The last that there was before any was put back: what is refused again comes after it. */
  readonly newest: string | undefined
  readonly wait: Milliseconds
}

/** What becomes of dead letters that were put back. */
async function follow(
  connection: Connection,
  target: string,
  { back, newest, wait }: Following,
): Promise<Followed> {
  const epochs = [...new Set(back.flatMap(epochsOf))].toSorted((a, b) => a - b)
  const lost = () => tell(`put back ${back.length} of ${target}, which go on; see: tidemark lanes`)
  const waited = await tellingLast(lost, () => waitForTarget(connection, target, epochs, wait))
  const records = [...waited.records.values()]
  const outcomes = back.map((letter) => outcomeOf(letter, target, waited))
  const told = {
    outcomes,
    records,
    isOtherLeft: false,
    ...(waited.trouble ? { trouble: waited.trouble } : {}),
  }
  if (!outcomes.some(({ state }) => state === "dead")) return told
  try {
    // A record is dead while any of its dead letters is left: only a new one says that it was this.
    const { items: newer } = await fetchLetters(connection, target, { after: newest, limit: Infinity })
    const isRefused = new Set(
      back.filter((letter) => newer.some((other) => isSame(letter, other))).map(({ id }) => id),
    )
    return {
      ...told,
      outcomes: outcomes.map((outcome) =>
        outcome.state === "dead" && !isRefused.has(outcome.id) ? { id: outcome.id, state: "done" } : outcome,
      ),
      isOtherLeft: outcomes.some(({ id, state }) => state === "dead" && !isRefused.has(id)),
    }
  } catch (error) {
    if (!(error instanceof CliError)) throw error
    return { ...told, trouble: error }
  }
}

/** Whether a new dead letter is of what another one was put back for. */
function isSame(letter: Letter, newer: Letter): boolean {
  const epochs = epochsOf(newer)
  const [mine, its] = [namesOf(letter), namesOf(newer)]
  return (
    epochsOf(letter).some((epoch) => epochs.includes(epoch)) &&
    // Where one names nothing singly it may have been widened.
    (mine.length === 0 || its.length === 0 || mine.some((name) => its.includes(name)))
  )
}

const namesOf = ({ selectors }: Letter): string[] => (isRecord(selectors) ? selectorsOf(selectors) : [])

/** A letter is as bad as the worst of its invalidations. */
function outcomeOf(letter: Letter, target: string, { records, trouble }: TargetWaited): Outcome {
  // What was not asked for any more, as something was in the way, may still be on its way.
  const unasked: Fate = trouble ? "pending" : "unknown"
  const ends = epochsOf(letter).map((epoch) => {
    const record = records.get(epoch)
    const error = record?.targets[target]?.error
    return { fate: record ? fateOf(record, target) : unasked, error }
  })
  const state = WORST.find((one) => ends.some(({ fate }) => fate === one)) ?? "unknown"
  const error = ends.find((end) => end.fate === state && typeof end.error === "string")?.error
  return { id: letter.id, state, ...(typeof error === "string" && state !== "done" ? { error } : {}) }
}

/** It is sent as one: where the log still knows some of its invalidations, those tell of the others too. */
const WORST: readonly Fate[] = ["dead", "pending", "done", "unknown"]

const outcomeTable = (outcomes: readonly Outcome[]): string[] =>
  table(
    outcomes.map(({ id, state, error }) => [id, stateCell(state), text(error)]),
    ["ID", "STATE", "ERROR"],
  )

function showOutcomes(outcomes: readonly Outcome[]): void {
  const open = outcomes.filter(({ state }) => state !== "done")
  print(`${outcomes.length - open.length} of ${outcomes.length} done`)
  if (open.length > 0) for (const line of outcomeTable(open)) print(line)
}

function endOf(target: string, { outcomes, trouble, isOtherLeft }: Followed): ExitCode {
  if (trouble) {
    tellError(trouble.message)
    for (const line of trouble.lines) tell(line)
  }
  if (isOtherLeft) tell("another dead letter of the same invalidation is left")
  const are = (state: Fate) => outcomes.some((outcome) => outcome.state === state)
  if (are("dead")) {
    tell(`dead again; see: tidemark dead list ${target}`)
    return EXIT.failed
  }
  if (are("unknown")) tell("unknown: no record or receipt of it is left")
  if (are("pending")) tell("not known to be done; see: tidemark lanes")
  return are("unknown") || are("pending") ? EXIT.late : EXIT.done
}
