import { type InvalidationRecord, readEntries, readRecords } from "../../protocol/record.ts"
import { meant, NONE, type Pages, standsFor, TARGETS } from "./site.ts"
import type { Entry, Letter } from "./seen.ts"
import type { World } from "./world.ts"

/** Holds what vendors took against what was published: never by what receipts say of it. */

/** Pages that an entry is about at a target and that nothing purged since, or nothing as hard. */
function missing(world: World, entry: Entry, target: string): Pages {
  const concerned = meant(entry.asked) & standsFor(world.config.targets[target]?.namespaces ?? [])
  let [soft, hard] = [NONE, NONE]
  for (const call of world.taken) {
    if (call.tenant !== entry.tenant || call.target !== target || call.begun < entry.at) continue
    soft |= call.pages
    if (call.mode === "purge") hard |= call.pages
  }
  // What the log lost nobody can carry out as it was asked: a resync stands for it, as hard as those are. Where epochs
  // fell, with all that knew of them gone, a cursor may stand above what was published then.
  const isReadable = entry.lostAt === undefined && !entry.isFallen
  const isHard = entry.asked.mode === "purge" && (isReadable || world.setting.resync === "purge")
  return concerned & ~(isHard ? hard : soft)
}

/** The entry that purges for one that settles. */
const settleOf = (world: World, entry: Entry): Entry | undefined =>
  entry.isSettling
    ? world.entries.findLast(
        ({ tenant, pass }) => tenant === entry.tenant && pass?.kind === "settle" && pass.of === entry.epoch,
      )
    : undefined

const describe = ({ kind, epoch, seq, tenant, asked }: Entry): string =>
  `${kind} ${epoch} (seq ${seq}) of ${tenant}: ${JSON.stringify(asked)}`

/** Records must not call done what is not. */
export async function judgeRecords(world: World, isOver: boolean): Promise<void> {
  for (const tenant of world.tenants) {
    if (world.fallen.has(tenant)) continue
    const stored = await readEntries(world.store, tenant, { after: 0, limit: 10_000 })
    const records = await readRecords(world.store, tenant, stored, world.config.targets)
    for (const record of records) {
      const entry = world.entries.findLast((one) => one.tenant === tenant && one.epoch === record.epoch)
      if (entry) judgeRecord(world, entry, record, isOver)
    }
  }
}

function judgeRecord(world: World, entry: Entry, { targets }: InvalidationRecord, isOver: boolean): void {
  for (const [target, { state }] of Object.entries(targets)) {
    if (state === "done") {
      const judged = settleOf(world, entry) ?? entry
      if (missing(world, judged, target) !== NONE)
        throw new Error(`a record says that ${describe(entry)} is done at ${target}, which it is not`)
    } else if (isOver && !["dead", "not_supported", "unknown"].includes(state)) {
      throw new Error(`a record says that ${describe(entry)} is ${state} at ${target}, when all is at rest`)
    }
  }
}

/** Everything, once all is at rest. */
export async function judge(world: World): Promise<void> {
  const letters = await world.lettersLeft()
  for (const entry of world.entries) {
    if (!entry.isAcknowledged) continue
    for (const target of TARGETS) {
      judgeDelivery(world, entry, target, letters)
      judgeTelling(world, entry, target)
    }
    judgePasses(world, entry)
  }
  await judgeRecords(world, true)
}

/** I2 and I6: purged by itself or by something wider, as hard as it was asked; or a dead letter. */
function judgeDelivery(world: World, entry: Entry, target: string, letters: readonly Letter[]): void {
  const { lostAt } = entry
  const epochs = [entry.epoch, settleOf(world, entry)?.epoch]
  const excused = letters
    .filter((letter) => letter.tenant === entry.tenant && letter.target === target && letter.at > entry.at)
    // What stands for entries that nobody can read any more cannot name them.
    .filter(
      (one) =>
        one.epochs.some((epoch) => epochs.includes(epoch)) || (lostAt !== undefined && one.at > lostAt),
    )
    .reduce((pages, letter) => pages | letter.pages, NONE)
  if ((missing(world, entry, target) & ~excused) === NONE) return
  throw new Error(
    `I2: ${describe(entry)} was never purged at ${target}${lostAt === undefined ? "" : ", and the log lost it"}`,
  )
}

/** I4: where the log lost it before the lane read it, somebody says so. */
function judgeTelling(world: World, { tenant, at, lostAt, ...entry }: Entry, target: string): void {
  if (lostAt === undefined) return
  const commits = world.commits.filter((commit) => commit.tenant === tenant && commit.target === target)
  if (commits.some(({ readAt, to }) => at < readAt && readAt < lostAt && entry.epoch <= to)) return
  const isTold =
    commits.some((commit) => commit.isResync && commit.at > lostAt) ||
    world.entries.some((one) => one.tenant === tenant && one.kind === "resync" && one.at > lostAt)
  if (!isTold)
    throw new Error(`I4: nobody says that ${describe({ tenant, at, ...entry })} was lost for ${target}`)
}

/** Passes that were promised with it came, unless they were lost with the rest. */
function judgePasses(world: World, entry: Entry): void {
  if (world.passesLostAt > entry.at || world.fallen.has(entry.tenant)) return
  for (const kind of entry.passes) {
    const isThere = world.entries.some(
      ({ tenant, pass, at }) =>
        tenant === entry.tenant && pass?.kind === kind && pass.of === entry.epoch && at > entry.at,
    )
    if (!isThere) throw new Error(`I2: the ${kind} pass of ${describe(entry)} never came`)
  }
}
