import { once } from "node:events"
import { createServer } from "node:http"
import { Queue } from "bullmq"
import { bullMqArguments, QUEUE } from "./bullmq.ts"

/** Takes a publish and adds a job of it. It verifies nothing. */
const { connection, setting } = bullMqArguments()
const queue = new Queue(QUEUE, { connection, ...setting.queue })
await queue.waitUntilReady()

const server = createServer((request, response) => {
  const parts: Buffer[] = []
  request.on("data", (part: Buffer) => parts.push(part))
  request.on("end", () => {
    const { tags } = JSON.parse(Buffer.concat(parts).toString()) as { tags: string[] }
    queue.add("purge", { tags }, setting.job(tags.join(" "))).then(
      () => response.writeHead(202).end("{}"),
      (error: unknown) => response.writeHead(500).end(String(error)),
    )
  })
})
server.keepAliveTimeout = 60_000
server.listen(0, "127.0.0.1")
await once(server, "listening")
const address = server.address()
process.stdout.write(`http://127.0.0.1:${typeof address === "object" && address ? address.port : 0}/\n`)
process.once("SIGTERM", () => process.exit(0))
