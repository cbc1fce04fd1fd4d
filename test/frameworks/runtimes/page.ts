import { createTidemark, type EpochStore } from "tidemark/client"
import { withEpochCache } from "tidemark/fetch"

/** One page through its life, behind `tidemark/fetch`, on whatever runtime this is run by. A line for each answer. */

/** All that was invalidated, each time the whole namespace. */
const log = { last: 1, hard: 0 }
const invalidate = (): number => (log.last = Math.max(log.last + 1, Date.now() * 1_000))

const store: EpochStore = {
  async lookup(request) {
    const { last, hard } = log
    const row = { epoch: last, watermark: last, hard, floor: last, tags: new Map<string, number>() }
    const namespaces = new Map(Array.from(request.keys(), (namespace) => [namespace, row]))
    return { tenant: "default", generation: 1, last, asOf: Date.now(), namespaces }
  },
}

let version = 0
const handler = withEpochCache(() => new Response(`page ${(version += 1)}`), {
  // Asks at every request.
  tidemark: createTidemark({ store, ttl: 0 }),
  namespace: "blog",
  tags: () => ["home"],
})

const background: Promise<unknown>[] = []
async function visit(what: string): Promise<void> {
  const ctx = { waitUntil: (promise: Promise<unknown>) => void background.push(promise) }
  const response = await handler(new Request("https://www.example.com/"), {}, ctx)
  const line = { what, status: response.headers.get("cache-status"), body: await response.text() }
  console.log(JSON.stringify(line))
  await Promise.all(background.splice(0))
}

await visit("miss")
await visit("hit")
invalidate()
await visit("soft")
await visit("after soft")
log.hard = invalidate()
await visit("hard")
await visit("after hard")
