import { RELAY_ITEMS_KEY, RELAYS_KEY } from "../protocol/keys.ts"
import { parseJson } from "../protocol/receipt.ts"
import { readHash } from "../protocol/record.ts"
import { asList, asText, type Store } from "../protocol/store.ts"
import type { Milliseconds } from "../protocol/time.ts"

/** What a relay says of itself in Redis. */
export interface RelayItem {
  readonly id: string
  readonly version: string
  readonly startedAt: Milliseconds
  readonly heartbeatAt: Milliseconds
  /** `<tenant>/<lane>` of the lanes that it had last. */
  readonly lanes: readonly string[]
  /** The same, of all that it has configured. */
  readonly targets?: readonly string[]
}

/** Every relay that is listed, with its last heartbeat, which it gives more often than it tells the rest. @throws {StoreError} */
export async function readFleet(store: Store): Promise<RelayItem[]> {
  const [items, beats] = await store.pipeline([
    ["HGETALL", RELAY_ITEMS_KEY],
    ["ZRANGE", RELAYS_KEY, "0", "-1", "WITHSCORES"],
  ])
  const flat = asList(beats).map((one) => asText(one) ?? "")
  const beatOf = new Map(
    flat.flatMap((id, index): [string, Milliseconds][] =>
      index % 2 === 0 ? [[id, Number(flat[index + 1])]] : [],
    ),
  )
  return [...readHash(items).values()].flatMap((text) => {
    const item = parseJson<RelayItem>(text)
    return item ? [{ ...item, heartbeatAt: beatOf.get(item.id) ?? item.heartbeatAt }] : []
  })
}
