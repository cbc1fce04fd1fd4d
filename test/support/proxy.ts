import { type AddressInfo, connect, createServer, type Socket } from "node:net"

/** A link to Redis that can be harmed in the ways that networks do it. */
export interface Proxy extends AsyncDisposable {
  readonly url: string
  /** Connections that are open on our side, half or whole. */
  readonly open: number
  /**
   * From now on messages of Pub/Sub get lost on every connection, old and new, while all else passes: a subscription
   * that looks well and is deaf.
   */
  muffle(on: boolean): void
  /** Drops what lies behind every connection of now; their clients are not told, and nobody hears them any more. */
  freeze(): void
  /** Takes no new connections, and ends those of now. */
  cut(on: boolean): void
}

/** A proxy in front of a Redis on this machine. */
export async function startProxy(redisUrl: string): Promise<Proxy> {
  const { port: redisPort } = new URL(redisUrl)
  const pairs = new Map<Socket, Socket>()
  let isMuffled = false
  let isCut = false
  // Without delay: else small answers wait for one another, as they do not without a proxy.
  const server = createServer({ noDelay: true }, (client) => {
    client.on("error", () => client.destroy())
    if (isCut) {
      client.destroy()
      return
    }
    const upstream = connect({ port: Number(redisPort), host: "127.0.0.1", noDelay: true })
    pairs.set(client, upstream)
    const filter = withoutMessages(() => isMuffled)
    upstream.on("data", (chunk: Buffer) => {
      const rest = filter(chunk)
      if (rest.length > 0) client.write(rest)
    })
    client.on("data", (chunk: Buffer) => void (upstream.destroyed || upstream.write(chunk)))
    upstream.on("error", () => upstream.destroy())
    upstream.on("close", () => {
      if (pairs.get(client) === upstream) client.destroy()
    })
    client.on("close", () => {
      pairs.delete(client)
      upstream.destroy()
    })
  })
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening))
  const { port } = server.address() as AddressInfo
  const end = () => {
    for (const client of pairs.keys()) client.destroy()
  }
  return {
    url: `redis://127.0.0.1:${port}`,
    get open() {
      return pairs.size
    },
    muffle(on) {
      isMuffled = on
    },
    freeze() {
      for (const [client, upstream] of pairs) {
        // No longer a pair: its end does not end the client.
        pairs.set(client, client)
        upstream.destroy()
      }
    },
    cut(on) {
      isCut = on
      if (on) end()
    },
    async [Symbol.asyncDispose]() {
      end()
      await new Promise((closed) => server.close(closed))
    },
  }
}

/** The bytes of a connection's answers without whole messages of Pub/Sub; a part of a reply waits for its rest. */
function withoutMessages(isMuffled: () => boolean): (chunk: Buffer) => Buffer {
  let waiting = Buffer.alloc(0)
  return (chunk) => {
    waiting = Buffer.concat([waiting, chunk])
    const kept: Buffer[] = []
    for (let end = replyEnd(waiting, 0); end !== undefined; end = replyEnd(waiting, 0)) {
      const reply = waiting.subarray(0, end)
      waiting = waiting.subarray(end)
      const isMessage = /^\*\d\r\n\$\d+\r\np?message\r\n/.test(reply.subarray(0, 32).toString("latin1"))
      if (!isMessage || !isMuffled()) kept.push(reply)
    }
    return Buffer.concat(kept)
  }
}

/** Where a reply of RESP2 that begins at `from` ends; undefined while it is not all there. */
function replyEnd(bytes: Buffer, from: number): number | undefined {
  const line = bytes.indexOf("\r\n", from)
  if (line < 0) return undefined
  const next = line + 2
  const count = Number(bytes.subarray(from + 1, line).toString("latin1"))
  switch (String.fromCharCode(bytes[from] ?? 0)) {
    case "$":
      return count < 0 ? next : next + count + 2 <= bytes.length ? next + count + 2 : undefined
    case "*": {
      let end: number | undefined = next
      for (let item = 0; item < count && end !== undefined; item += 1) end = replyEnd(bytes, end)
      return end
    }
    default:
      return next
  }
}
