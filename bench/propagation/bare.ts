import { setTimeout as delay } from "node:timers/promises"
import { createClient } from "redis"
import type { Epoch } from "../../protocol/epoch.ts"
import { logKey, wakeChannel } from "../../protocol/keys.ts"
import { wallClock } from "./clock.ts"
import { serveControl } from "./control.ts"
import { type Expected, type Handled, NAMESPACE, numberOf } from "./load.ts"

/**
 * A subscriber of the usual shape, which believes what it is told; with `--read` one that reads what is new in the log
 * after each message. It keeps nothing, repeats nothing, and misses whatever is published while it is away.
 */

const [redisUrl = "", flag] = process.argv.slice(2)
const isReading = flag === "--read"
const subscriber = createClient({ url: redisUrl, RESP: 2 })
const commands = createClient({ url: redisUrl, RESP: 2 })
await Promise.all([subscriber.connect(), commands.connect()])

let now = wallClock()
let heard = new Map<Epoch, number>()
let read = new Map<number, number>()
let batches = 0
let after: Epoch = 0

/** As the bare chain of `bench:path` reads. */
async function readTo(epoch: Epoch): Promise<void> {
  const from = after
  after = epoch
  const range = ["XRANGE", logKey("default"), `${from}-1`, `${epoch}-0`]
  const entries = await commands.sendCommand<[string, string[]][]>(range)
  const tags = entries.flatMap(
    ([, fields]) => (JSON.parse(fields[fields.indexOf("d") + 1] ?? "{}") as { tags?: string[] }).tags ?? [],
  )
  const at = now()
  if (tags.length > 0) batches += 1
  for (const tag of tags) read.set(numberOf(tag), at)
}

await subscriber.subscribe(wakeChannel("default", NAMESPACE), async (message) => {
  const { e: epoch } = JSON.parse(message) as { e: Epoch }
  if (isReading) return readTo(epoch)
  heard.set(epoch, now())
  batches += 1
})

async function settle({ count, within }: Expected): Promise<void> {
  const over = performance.now() + within
  while ((isReading ? read : heard).size < count && performance.now() < over) await delay(20)
}

function handled({ first, epochs }: Expected): Handled {
  const at = epochs.map((epoch, index) => (isReading ? read.get(first + index) : heard.get(epoch)) ?? null)
  return { at, batches }
}

await serveControl({
  begin() {
    now = wallClock()
    heard = new Map()
    read = new Map()
    batches = 0
  },
  settle,
  handled,
})
