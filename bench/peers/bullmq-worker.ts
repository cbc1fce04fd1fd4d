import { Worker } from "bullmq"
import { Pool } from "undici"
import { bullMqArguments, QUEUE } from "./bullmq.ts"

/** Takes jobs and posts each to the vendor; one that was refused has failed. */
const { connection, setting, vendorUrl } = bullMqArguments()
const { origin, pathname } = new URL(vendorUrl)
const pool = new Pool(origin, { connections: setting.concurrency })

const worker = new Worker<{ tags: string[] }>(
  QUEUE,
  async ({ data }) => {
    const { statusCode, body } = await pool.request({
      path: pathname,
      method: "POST",
      body: JSON.stringify({ tags: data.tags }),
    })
    await body.dump()
    if (statusCode >= 300) throw new Error(`the vendor answered ${statusCode}`)
  },
  { connection, concurrency: setting.concurrency },
)
worker.on("error", (error) => process.stderr.write(`${error.message}\n`))
await worker.waitUntilReady()
process.stdout.write("ready\n")
process.once("SIGTERM", () => process.exit(0))
