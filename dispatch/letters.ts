import { type Epoch } from "../protocol/epoch.ts"
import { deadKey, dueItemsKey, dueKey, lateKey, wakeChannel } from "../protocol/keys.ts"
import { type DeadLetter, type DueItem, encodeOwed, parseLetter } from "../protocol/letter.ts"
import { ROOT } from "../protocol/namespace.ts"
import { laneOf } from "../protocol/nodes.ts"
import type { LateReceipt } from "../protocol/receipt.ts"
import { readHash } from "../protocol/record.ts"
import { replayScript } from "../protocol/scripts.gen.ts"
import { asList, asText, type Store } from "../protocol/store.ts"
import type { Milliseconds } from "../protocol/time.ts"
import { type LaneName, readLate } from "./commit.ts"

/** The id of a dead letter, as its stream has it. */
const LETTER_ID = /^\d{1,16}-\d{1,16}$/

/** Whether a text can be the id of a dead letter. */
export const isLetterId = (text: string): boolean => LETTER_ID.test(text)

export interface StoredLetter {
  readonly id: string
  /** Undefined where it is of a form that this version does not know. */
  readonly letter: DeadLetter | undefined
}

function readLetters(reply: unknown): StoredLetter[] {
  return asList(reply as Parameters<typeof asList>[0]).map((item) => {
    const [id, fields] = asList(item)
    return { id: asText(id) ?? "", letter: parseLetter(readHash(fields).get("d")) }
  })
}

/** Dead letters of a target, the oldest first; `after` is exclusive. @throws {StoreError} */
export async function listLetters(
  store: Store,
  { tenant, target }: LaneName,
  { after, limit }: { readonly after: string | undefined; readonly limit: number },
): Promise<StoredLetter[]> {
  const from = after === undefined ? "-" : next(after)
  const [reply] = await store.pipeline([
    ["XRANGE", deadKey(tenant, target), from, "+", "COUNT", String(limit)],
  ])
  return readLetters(reply)
}

/** The least id above one: `(` in a range needs Redis 6.2. */
function next(id: string): string {
  const [ms = "0", nth = "0"] = id.split("-")
  return `${ms}-${BigInt(nth) + 1n}`
}

/** Drops a dead letter. False: there is none. What became of its invalidation stays as it is. @throws {StoreError} */
export async function deleteLetter(store: Store, { tenant, target }: LaneName, id: string): Promise<boolean> {
  const [count] = await store.pipeline([["XDEL", deadKey(tenant, target), id]])
  return count === 1
}

/**
 * Puts a dead letter back among what its target owes, and wakes whoever has the lane; its invalidation is `pending`
 * there again. A letter that cannot be read is owed as everything.
 *
 * @returns false where there is no such letter
 * @throws {StoreError}
 */
export async function replayLetter(
  store: Store,
  lane: LaneName,
  id: string,
  now: Milliseconds,
): Promise<boolean> {
  const { tenant, target } = lane
  const itemId = `replay:${id}`
  for (;;) {
    const [reply] = await store.pipeline([["XRANGE", deadKey(tenant, target), id, id]])
    const [found] = readLetters(reply)
    if (!found) return false
    // It is owed to the node alone that did not take it.
    const own = laneOf(target, found.letter?.node)
    const keys = [
      deadKey(tenant, target),
      dueKey(tenant, own),
      dueItemsKey(tenant, own),
      lateKey(tenant, own),
    ]
    const item = owedAgain(found.letter)
    const rows = await readLate(store, { tenant, target: own }, item.epochs)
    const late = [...rows].flatMap(([epoch, { text, receipt }]) => [
      String(epoch),
      text,
      JSON.stringify(pendingAgain(receipt, itemId, now)),
    ])
    const due = [String(Math.floor(now)), itemId, encodeOwed(item), wakeChannel(tenant, ROOT)]
    const status = asText(await store.script(replayScript, keys, [id, ...due, ...late]))
    if (status === "ok") return true
    if (status === "gone") return false
    // A row is no longer as it was read: its lane wrote of another item. Once more, by what stands there now.
  }
}

function owedAgain(letter: DeadLetter | undefined): DueItem {
  const { namespace, mode, epochs, tags, urls, prefixes, hosts } = letter ?? EVERYTHING
  return { why: "replay", namespace, mode, epochs, tags, urls, prefixes, hosts }
}

const EVERYTHING = {
  namespace: null,
  mode: "invalidate",
  epochs: [] as readonly Epoch[],
  tags: [],
  urls: [],
  prefixes: [],
  hosts: [],
} as const

function pendingAgain(known: LateReceipt, itemId: string, at: Milliseconds): LateReceipt {
  const { error: _, ...rest } = known
  return {
    ...rest,
    state: "pending",
    at,
    waits: [...new Set([...(known.waits ?? []), itemId])],
    letters: Math.max(0, (known.letters ?? 0) - 1),
  }
}
