import { connect } from "node:net"
import { inDirectory, onPort, type RunningServer, startServer } from "./process.ts"
import { findRedis, type ProvisionOptions } from "./provision.ts"

const PORT_VARIABLE = "TIDEMARK_REDIS_PORT"
const ANSWER_DEADLINE_MS = 1_000

export interface RedisOptions extends ProvisionOptions {
  /** Port on 127.0.0.1. Default 0: any free one. */
  readonly port?: number
  /** Data directory, which must exist and is kept. Default: a fresh temporary one, removed at the end. */
  readonly directory?: string
  /** More arguments of redis-server; they win over ours. Default: none. */
  readonly args?: readonly string[]
}

/**
 * Starts a Redis (or Valkey) of our own on 127.0.0.1 and waits until it answers PING. Nothing is persisted and
 * nothing evicted unless `args` say otherwise. It ends with this process, also where that is killed (see `process.ts`).
 * @throws {Error} If there is none and none can be fetched, or it does not start: `port N is taken: …`.
 */
export async function startRedis(options: RedisOptions = {}): Promise<RunningServer> {
  const redis = await findRedis(options)
  const start = (port: number) =>
    inDirectory("redis", options.directory, (directory) => {
      const ours = {
        "--port": String(port),
        "--bind": "127.0.0.1",
        "--dir": directory.path,
        "--save": "",
        "--appendonly": "no",
        "--maxmemory-policy": "noeviction",
      }
      const args = [...Object.entries(ours).flat(), ...(options.args ?? [])]
      return startServer({
        name: "redis",
        command: { file: redis.file, args, env: redis.env },
        directory,
        url: `redis://127.0.0.1:${port}`,
        port,
        portVariable: PORT_VARIABLE,
        signal: options.signal,
        answers: (pid) => answersPing(port, pid),
      })
    })
  return onPort(options.port ?? 0, PORT_VARIABLE, start)
}

/**
 * Whether the Redis on that port is ready (not `-LOADING`) and is the process that we started: it may as well be
 * another that took the port a moment before ours. One that wants a password cannot tell, and is believed.
 */
function answersPing(port: number, pid: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  let answer = ""
  const socket = connect(port, "127.0.0.1", () => socket.write("PING\r\nINFO server\r\n"))
  socket.setEncoding("utf8").setTimeout(ANSWER_DEADLINE_MS, () => socket.destroy())
  socket.on("data", (text: string) => {
    answer += text
    if (/^-NOAUTH|process_id:\d+\r/.test(answer)) socket.destroy()
  })
  socket.on("error", () => undefined) // refused as it is not up yet; "close" follows
  socket.on("close", () => {
    const isOurs = answer.startsWith("+PONG") && answer.includes(`\nprocess_id:${pid}\r`)
    resolve(isOurs || answer.startsWith("-NOAUTH"))
  })
  return promise
}
