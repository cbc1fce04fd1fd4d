import { setTimeout as delay } from "node:timers/promises"
import { parseConfig } from "../../protocol/config/config.ts"
import type { Epoch } from "../../protocol/epoch.ts"
import { parseInvalidation } from "../../protocol/invalidation.ts"
import { type EntryPlan, planEntry, publish, settingsFor } from "../../protocol/publish.ts"
import { openStore, type OpenStore } from "../../test/support/publish.ts"
import { serveControl } from "./control.ts"
import { CONFIG, type Load, NAMESPACE, type Published, tagOf } from "./load.ts"

/** Publishers in a process of their own, straight to Redis by the script that the Worker publishes by. */

const TENANT = "default"
const config = parseConfig(CONFIG)

/** What was published before was answered: its connections are kept for the next load. */
const opened = new Map<string, OpenStore[]>()

async function connections(redisUrl: string, count: number): Promise<readonly OpenStore[]> {
  const known = opened.get(redisUrl) ?? []
  opened.set(redisUrl, known)
  while (known.length < count) known.push(await openStore(redisUrl))
  return known.slice(0, count)
}

/** As the Worker does it, but before the clock starts: how fast a request is judged is not what is measured. */
function planOf(number: number): EntryPlan {
  const parsed = parseInvalidation({ namespace: NAMESPACE, tags: [tagOf(number)] })
  if ("errors" in parsed) throw new Error(`not an invalidation: ${JSON.stringify(parsed.errors)}`)
  const settings = settingsFor(config, TENANT, parsed.value)
  if (!settings) throw new Error(`${NAMESPACE} is not declared`)
  return planEntry(parsed.value, settings, { token: "bench" }, { settle: 0, secondPass: 0 })
}

async function run({ redisUrl, first, count, rate, publishers }: Load): Promise<Published> {
  const stores = await connections(redisUrl, publishers)
  const plans = Array.from({ length: count }, (_, index) => planOf(first + index))
  const epochs: Epoch[] = Array.from({ length: count }, () => 0)
  const one = async (index: number): Promise<void> => {
    const [store, plan] = [stores[index % publishers]?.store, plans[index]]
    if (!store || !plan) throw new Error(`there is no publish ${index}`)
    const { maxEntries } = config.log
    const outcome = await publish(store, { tenant: TENANT, entries: [plan], maxEntries })
    const epoch = outcome.status === "accepted" ? outcome.entries[0]?.epoch : undefined
    if (epoch === undefined) throw new Error(`publish ${first + index} was answered ${outcome.status}`)
    epochs[index] = epoch
  }
  if (rate === undefined) {
    const work = async (_: OpenStore, publisher: number): Promise<void> => {
      for (let index = publisher; index < count; index += publishers) await one(index)
    }
    await Promise.all(stores.map(work))
    return { epochs, late: 0 }
  }
  const answers: Promise<void>[] = []
  let late = 0
  const began = performance.now()
  while (answers.length < count) {
    const passed = performance.now() - began
    const due = Math.min(count, Math.floor((passed * rate) / 1000) + 1)
    if (due > answers.length) late = Math.max(late, passed - (answers.length * 1000) / rate)
    while (answers.length < due) answers.push(one(answers.length))
    await delay(1)
  }
  await Promise.all(answers)
  return { epochs, late }
}

await serveControl({ run })
