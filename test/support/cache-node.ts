import { createServer, type Socket } from "node:net"

/** What a node was asked, and took. */
export interface NodePurge {
  /** ms since 1970. */
  readonly at: number
  /** `keys a b`, `url /p`, `ban`, or `ban` with its patterns. */
  readonly said: string
  readonly keys: readonly string[]
  readonly isBan: boolean
}

/** One cache of a target of several, which answers as tidemark.vcl does. */
export interface CacheNode extends AsyncDisposable {
  /** `127.0.0.1:6081`, as the node is named. */
  readonly address: string
  readonly url: string
  /** What it took, in order. */
  readonly taken: NodePurge[]
  /** What it answers. Default 200. */
  status: number
  /** Whether its answers carry the mark of tidemark.vcl; without it, it is no cache of ours and takes nothing. */
  isMarked: boolean
  /** Listens no more, and breaks off what is under way. */
  stop(): Promise<void>
}

/** Starts a node on an address of loopback; port 0: any free one. */
export async function startCacheNode(address = "127.0.0.1", port = 0): Promise<CacheNode> {
  const own = { taken: [] as NodePurge[], status: 200, isMarked: true }
  const sockets = new Set<Socket>()
  /** Node's own HTTP server knows no BAN. None of these requests has a body. */
  const answer = (head: string): string => {
    const [, method = "", url = ""] = /^(\w+) (\S+) HTTP/.exec(head) ?? []
    const keys = /^xkey-(?:soft)?purge: (.*)$/im.exec(head)?.[1]
    const isBan = method === "BAN"
    const said = isBan ? "ban" : keys === undefined ? `url ${url}` : `keys ${keys}`
    if (own.status === 200 && own.isMarked)
      own.taken.push({ at: Date.now(), said, keys: keys?.split(" ") ?? [], isBan })
    const mark = own.isMarked ? `x-tidemark-purged: ${isBan ? "-" : 1}\r\n` : ""
    return `HTTP/1.1 ${own.status} Said\r\n${mark}content-length: 0\r\n\r\n`
  }
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.once("close", () => sockets.delete(socket))
    socket.on("error", () => {})
    let text = ""
    socket.on("data", (data) => {
      text += data.toString("latin1")
      for (let end = text.indexOf("\r\n\r\n"); end >= 0; end = text.indexOf("\r\n\r\n")) {
        const head = text.slice(0, end)
        text = text.slice(end + 4)
        socket.write(answer(head))
      }
    })
  })
  await new Promise<void>((ready, failed) => {
    server.once("error", failed)
    server.listen(port, address, ready)
  })
  const found = server.address()
  const host = address.includes(":") ? `[${address}]` : address
  const name = `${host}:${typeof found === "object" ? found?.port : 0}`
  const stop = () =>
    new Promise<void>((closed) => {
      for (const socket of sockets) socket.destroy()
      server.close(() => closed())
    })
  return Object.assign(own, { address: name, url: `http://${name}`, stop, [Symbol.asyncDispose]: stop })
}
