import { createClient } from "redis"

/** One command over a connection of its own; its reply, where that is a text or a number, as text. */
export async function redisCommand(url: string, ...words: readonly string[]): Promise<string> {
  const client = createClient({ url, RESP: 2, socket: { reconnectStrategy: false } })
  client.on("error", () => {})
  await client.connect()
  try {
    return `${await client.sendCommand<string | number>([...words])}`
  } finally {
    client.destroy()
  }
}
