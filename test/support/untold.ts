import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import * as generated from "../../protocol/scripts.gen.ts"
import { commandName, splitter } from "./resp.ts"

/**
 * What a script is told by `INFO` here: of a section that the server does not have, the heading and nothing else.
 *
 * @see https://upstash.com/docs/redis/commands/server/info
 */
const SHIM = `local given = redis
local redis = setmetatable({
  call = function(name, ...)
    if name == 'INFO' then return '# ' .. (...) .. '\\r\\n' end
    return given.call(name, ...)
  end,
}, {__index = given})
`

const TEXTS = new Map(Object.values(generated).map(({ sha1, text }) => [sha1, text]))

/** Leads to a Redis, and lets no script see what that says of itself: neither who it is nor how it evicts. */
export interface Untold extends AsyncDisposable {
  readonly url: string
  /** Where all connections lead from now on; those of now are ended. */
  lead(url: string): void
}

/** A real Redis behind a proxy that alters nothing but what `INFO` answers inside scripts, and in none but ours. */
export async function startUntold(redisUrl: string): Promise<Untold> {
  const sockets = new Set<Socket>()
  let target = redisUrl
  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ port: Number(new URL(target).port), host: "127.0.0.1", noDelay: true })
    const split = splitter()
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(one)
      one.on("error", () => one.destroy())
      one.on("close", () => {
        sockets.delete(one)
        other.destroy()
      })
    }
    client.on("data", (chunk: Buffer) => {
      for (const command of split(chunk)) upstream.write(shimmed(command))
    })
    upstream.pipe(client)
  })
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening))
  const end = () => {
    for (const socket of sockets) socket.destroy()
  }
  return {
    url: `redis://127.0.0.1:${(server.address() as AddressInfo).port}`,
    lead(url) {
      target = url
      end()
    },
    async [Symbol.asyncDispose]() {
      end()
      await new Promise((closed) => server.close(closed))
    },
  }
}

/** A command as it came; a script's with its text, and the shim before it. */
function shimmed(command: Buffer): Buffer {
  if (!commandName(command).startsWith("EVAL")) return command
  const [name = "", script = "", ...rest] = wordsOf(command)
  const text = name.toUpperCase() === "EVAL" ? script : TEXTS.get(script)
  if (text === undefined) return command
  const words = ["EVAL", SHIM + text, ...rest].map((word) => Buffer.from(word))
  return Buffer.concat([
    Buffer.from(`*${words.length}\r\n`),
    ...words.flatMap((word) => [Buffer.from(`$${word.length}\r\n`), word, Buffer.from("\r\n")]),
  ])
}

/** The words of one whole command of RESP2. */
function wordsOf(command: Buffer): string[] {
  const words: string[] = []
  for (let at = command.indexOf("\r\n") + 2; at < command.length;) {
    const line = command.indexOf("\r\n", at)
    const length = Number(command.subarray(at + 1, line).toString("latin1"))
    words.push(command.subarray(line + 2, line + 2 + length).toString())
    at = line + 2 + length + 2
  }
  return words
}
