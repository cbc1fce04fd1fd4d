import type { Epoch } from "../protocol/epoch.ts"
import { NAME } from "../protocol/namespace.ts"
import { CliError } from "./exit.ts"
import { type Connection, send } from "./http.ts"
import { isRecord } from "./json.ts"

/** A dead letter as the relay answers it, as far as the command relies on it. */
export type Letter = Readonly<Record<string, unknown>> & { readonly id: string }

export interface LetterPage {
  readonly items: readonly Letter[]
  /** What to go on `after`; null at the end. */
  readonly next: string | null
}

/** Most that one page holds. */
const MAX_PAGE = 1_000

const LETTER_ID = /^(\d{1,16})-(\d{1,16})$/

const HIGHEST = "9999999999999999"

/** @throws {CliError} `usage` */
export function checkLetterId(text: string): string {
  if (LETTER_ID.test(text)) return text
  throw new CliError("usage", "an id is what dead list shows, such as 1795272188595-0")
}

/** @throws {CliError} `usage` */
export function checkTarget(text: string): string {
  if (NAME.test(text)) return text
  throw new CliError("usage", "a target's name is lower-case letters, digits and '-', 63 at most")
}

/** Where a target's dead letters lie, or one of them. Both were checked. */
export const letterPath = (target: string, id?: string): string =>
  `v1/dead-letters/${target}${id === undefined ? "" : `/${id}`}`

/** The invalidations that it is of; none where it could not be read. */
export const epochsOf = ({ epochs }: Letter): Epoch[] =>
  Array.isArray(epochs) ? epochs.filter((epoch): epoch is Epoch => Number.isSafeInteger(epoch)) : []

const isId = (value: unknown): value is string => typeof value === "string" && LETTER_ID.test(value)

const isLetter = (value: unknown): value is Letter => isRecord(value) && isId(value["id"])

/** @throws {CliError} as `send`; `failed` where the answer is no list of dead letters */
async function fetchPage(
  connection: Connection,
  target: string,
  after: string | undefined,
  limit: number,
): Promise<LetterPage> {
  const query = { after, limit: String(limit) }
  const answer = await send(connection, { path: letterPath(target), query })
  const { items, next } = isRecord(answer) ? answer : {}
  const isPage =
    Array.isArray(items) &&
    items.every(isLetter) &&
    // An empty page that goes on would be asked for again and again.
    (next === null || (isId(next) && next !== after && items.length > 0))
  if (isPage) return { items, next }
  throw new CliError(
    "failed",
    `${connection.url.href} answered something that is no list of dead letters: is that a Tidemark relay?`,
  )
}

export interface LetterRange {
  /** Exclusive. */
  readonly after?: string | undefined
  readonly limit: number
}

/** Dead letters of a target, the oldest first: pages until the limit is reached, as one answer. @throws {CliError} */
export async function fetchLetters(
  connection: Connection,
  target: string,
  { after, limit }: LetterRange,
): Promise<LetterPage> {
  const items: Letter[] = []
  for (let from = after; ;) {
    const page = await fetchPage(connection, target, from, Math.min(limit - items.length, MAX_PAGE))
    items.push(...page.items)
    if (items.length > limit) return { items: items.slice(0, limit), next: items[limit - 1]?.id ?? null }
    if (items.length === limit || page.next === null) return { items, next: page.next }
    from = page.next
  }
}

/** One of them. @throws {CliError} `failed`, also where there is none of this id */
export async function fetchLetter(connection: Connection, target: string, id: string): Promise<Letter> {
  const { items } = await fetchPage(connection, target, idBefore(id), 1)
  const [letter] = items
  if (letter?.id === id) return letter
  throw noLetter(target, id)
}

/** One of them and all newer ones. @throws {CliError} `failed`, also where there is none of this id */
export async function fetchLettersFrom(
  connection: Connection,
  target: string,
  id: string,
): Promise<[Letter, ...Letter[]]> {
  const { items } = await fetchLetters(connection, target, { after: idBefore(id), limit: Infinity })
  const [letter, ...newer] = items
  if (letter?.id === id) return [letter, ...newer]
  throw noLetter(target, id)
}

const noLetter = (target: string, id: string): CliError =>
  new CliError("failed", `${target} has no dead letter ${id}`)

/** Only lists are answered: one is the first that comes after the highest id below it. */
function idBefore(id: string): string | undefined {
  const [ms = 0n, nth = 0n] = id.split("-").map(BigInt)
  if (nth > 0n) return `${ms}-${nth - 1n}`
  return ms > 0n ? `${ms - 1n}-${HIGHEST}` : undefined
}
