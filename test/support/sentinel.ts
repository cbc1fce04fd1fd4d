import { mkdtemp, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { onPort, type RunningServer, startServer } from "../../cli/servers/process.ts"
import { findRedis } from "../../cli/servers/provision.ts"
import { redisCommand } from "./redis-command.ts"

/** A real Sentinel of its own, which alone decides on the primary at a port of this machine, named `tidemark`. */
export async function startSentinel(primary: number): Promise<RunningServer> {
  const { file, env } = await findRedis()
  return onPort(0, "-", async (port) => {
    const path = await mkdtemp(join(tmpdir(), "tidemark-sentinel-"))
    // It writes into its configuration what it learns.
    const config = join(path, "sentinel.conf")
    const lines = [
      `port ${port}`,
      "bind 127.0.0.1",
      `dir ${path}`,
      `sentinel monitor tidemark 127.0.0.1 ${primary} 1`,
      "sentinel down-after-milliseconds tidemark 1000",
    ]
    await writeFile(config, `${lines.join("\n")}\n`)
    const url = `redis://127.0.0.1:${port}`
    return startServer({
      name: "sentinel",
      command: { file, args: [config, "--sentinel"], env },
      directory: { path, temporary: true },
      url,
      port,
      portVariable: "-",
      answers: (pid) =>
        redisCommand(url, "INFO", "server").then(
          (info) => info.includes(`process_id:${pid}\r`),
          () => false,
        ),
    })
  })
}
