import { parseConfig } from "../../protocol/config/config.ts"
import type { Config } from "../../protocol/config/schema.ts"
import type { Epoch, Position } from "../../protocol/epoch.ts"
import { type InvalidationInput, MAX_BATCH, parseInvalidation } from "../../protocol/invalidation.ts"
import { planEntry, type PassDefaults, publish, settingsFor } from "../../protocol/publish.ts"
import { type InvalidationRecord, readEntries, readRecords } from "../../protocol/record.ts"
import type { Store } from "../../protocol/store.ts"
import { connectUpstream } from "../../relay-node/redis/upstream.ts"
import { redisStore } from "../../relay-node/store.ts"

const quiet = { info() {}, warn() {}, error() {} }

export interface OpenStore {
  readonly store: Store
  close(): void
}

/** A connection to Redis as the relay has it. */
export async function openStore(redisUrl: string): Promise<OpenStore> {
  const upstream = connectUpstream(redisUrl, quiet)
  await upstream.tried
  return { store: redisStore(upstream), close: () => upstream.close() }
}

/** Publishes straight to Redis, as the Worker does once it has judged a request. */
export interface Publisher {
  /** Appends each as one entry, a hundred a script, in order. */
  publish(...inputs: readonly InvalidationInput[]): Promise<Position[]>
  /** What `GET /v1/invalidations/{id}` shows. */
  record(epoch: Epoch): Promise<InvalidationRecord>
  /** Those of many, in the order of the log. */
  records(epochs: readonly Epoch[]): Promise<InvalidationRecord[]>
}

const NO_PASSES: PassDefaults = { settle: 0, secondPass: 0 }

export function publisher(store: Store, config: Config = parseConfig({}), tenant = "default"): Publisher {
  const planOf = (input: InvalidationInput) => {
    const parsed = parseInvalidation(input)
    if ("errors" in parsed) throw new Error(`not an invalidation: ${JSON.stringify(parsed.errors)}`)
    const settings = settingsFor(config, tenant, parsed.value)
    if (!settings) throw new Error(`${parsed.value.namespace} is not declared`)
    return planEntry(parsed.value, settings, { token: "deploy" }, NO_PASSES)
  }
  return {
    async publish(...inputs) {
      const positions: Position[] = []
      for (let from = 0; from < inputs.length; from += MAX_BATCH) {
        const entries = inputs.slice(from, from + MAX_BATCH).map(planOf)
        const outcome = await publish(store, { tenant, entries, maxEntries: config.log.maxEntries })
        if (!("entries" in outcome)) throw new Error(`not recorded: ${outcome.status}`)
        positions.push(...outcome.entries.map((entry) => ({ generation: outcome.generation, ...entry })))
      }
      return positions
    },
    async record(epoch) {
      const [record] = await this.records([epoch])
      if (!record) throw new Error(`there is no entry ${epoch}`)
      return record
    },
    async records(epochs) {
      const wanted = new Set(epochs)
      const page = { after: Math.min(...epochs) - 1, limit: 10_000 }
      const entries = (await readEntries(store, tenant, page)).filter(({ epoch }) => wanted.has(epoch))
      if (entries.length < wanted.size)
        throw new Error(`${wanted.size - entries.length} entries are not in the log`)
      return readRecords(store, tenant, entries, config.targets)
    },
  }
}
