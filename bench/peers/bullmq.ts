import type { JobsOptions, WorkerOptions } from "bullmq"

/** BullMQ as it comes, and tuned as far as goes without losing a purge. */
export interface BullMqSetting {
  /** Also the most calls to the vendor at once. */
  readonly concurrency: number
  readonly job: (tag: string) => JobsOptions
  readonly queue: { readonly skipMetasUpdate?: boolean }
}

export const QUEUE = "purges"

export const bullMqSettings = {
  defaults: { concurrency: 16, job: () => ({}), queue: {} },
  tuned: {
    // @see https://docs.bullmq.io/guide/parallelism-and-concurrency
    concurrency: 100,
    job: (tag) => ({
      removeOnComplete: true,
      removeOnFail: 5_000,
      // Without `keepLastIfActive` a second purge of a tag would be dropped while the first is under way.
      deduplication: { id: tag, keepLastIfActive: true },
    }),
    queue: { skipMetasUpdate: true },
  },
} as const satisfies Record<string, BullMqSetting>

export type BullMqSettingName = keyof typeof bullMqSettings

/** What both processes of it are started with: Redis, the setting, and the vendor where there is one to call. */
export function bullMqArguments(): {
  readonly connection: WorkerOptions["connection"]
  readonly setting: BullMqSetting
  readonly vendorUrl: string
} {
  const [url = "", name = "", vendorUrl = ""] = process.argv.slice(2)
  if (!(name in bullMqSettings)) throw new Error(`no such setting of BullMQ: ${name}`)
  return { connection: { url }, setting: bullMqSettings[name as BullMqSettingName], vendorUrl }
}
