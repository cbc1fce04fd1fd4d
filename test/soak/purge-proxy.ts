import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import type { Milliseconds } from "../../protocol/time.ts"
import { labelsOf, isPath } from "./origin.ts"
import { pathOf, SITE_ORIGIN } from "./settings.ts"

/**
 * How Varnish meets the relay's purges:
 * - `open`    as it is
 * - `silent`  they arrive nowhere, and nothing is answered
 * - `refused` connections are ended
 * - `failing` 503
 * - `mute`    they are carried out, and the answer gets lost
 * - `lying`   200 in the words of tidemark.vcl, and nothing is done: what `--break purge` is
 */
export type PurgeManner = "open" | "silent" | "refused" | "failing" | "mute" | "lying"

/** One purge that the cache answered by 200. */
export interface Purge {
  /** Before Varnish was told. */
  readonly startedAt: Milliseconds
  readonly ackedAt: Milliseconds
  readonly isHard: boolean
  /** Whether it names a page, by any of its labels, its url, or something that covers it. */
  covers(page: number): boolean
}

/** A request without a body, as far as it matters here. */
interface Head {
  readonly method: string
  readonly url: string
  readonly headers: ReadonlyMap<string, string>
}

/**
 * Stands before Varnish for whoever purges, and sees what is asked and answered. Visitors do not come this way. It
 * speaks HTTP by hand, as Node's own server knows no BAN, and ends each connection with its answer.
 */
export class PurgeProxy {
  readonly #varnish: URL
  readonly #onPurge: (purge: Purge) => void
  readonly #server = createServer({ noDelay: true }, (client) => this.#take(client))
  readonly #clients = new Set<Socket>()
  readonly #silenced = new Set<Socket>()
  #manner: PurgeManner = "open"
  #port = 0

  constructor(varnishUrl: string, onPurge: (purge: Purge) => void) {
    this.#varnish = new URL(varnishUrl)
    this.#onPurge = onPurge
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  async start(): Promise<void> {
    await new Promise<void>((listening) => this.#server.listen(0, "127.0.0.1", listening))
    this.#port = (this.#server.address() as AddressInfo).port
  }

  async stop(): Promise<void> {
    const closed = new Promise((done) => this.#server.close(done))
    for (const client of this.#clients) client.destroy()
    await closed
  }

  behave(manner: PurgeManner): void {
    this.#manner = manner
    if (manner === "silent") return
    // Whoever still waits has a connection that is dead.
    for (const client of this.#silenced) client.destroy()
    this.#silenced.clear()
  }

  #take(client: Socket): void {
    this.#clients.add(client)
    client.on("error", () => client.destroy())
    client.once("close", () => {
      this.#clients.delete(client)
      this.#silenced.delete(client)
    })
    let text = ""
    client.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1")
      if (!text.endsWith(END_OF_HEAD)) return
      const head = text
      text = ""
      this.#answer(client, head)
    })
  }

  #answer(client: Socket, text: string): void {
    const startedAt = Date.now()
    switch (this.#manner) {
      case "silent":
        this.#silenced.add(client)
        return
      case "refused":
        client.destroy()
        return
      case "failing":
        client.end("HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        return
      case "lying":
        this.#tell(headOf(text), startedAt)
        // With the mark of tidemark.vcl: without it nothing would be believed, and the lane would pause.
        client.end(
          "HTTP/1.1 200 OK\r\nX-Tidemark-Purged: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        )
        return
      case "open":
        this.#pass(client, text, startedAt, false)
        return
      case "mute":
        this.#pass(client, text, startedAt, true)
    }
  }

  #pass(client: Socket, text: string, startedAt: Milliseconds, isMute: boolean): void {
    const answer: Buffer[] = []
    const varnish = connect({ host: this.#varnish.hostname, port: Number(this.#varnish.port), noDelay: true })
    varnish.on("data", (chunk: Buffer) => void answer.push(chunk))
    varnish.on("error", () => client.destroy())
    varnish.once("end", () => {
      const bytes = Buffer.concat(answer)
      if (bytes.toString("latin1", 0, 16).startsWith("HTTP/1.1 200 ")) this.#tell(headOf(text), startedAt)
      if (isMute) client.destroy()
      else client.end(bytes)
    })
    // Its end is how we know that the answer is whole.
    varnish.write(
      text.replace(/\r\nconnection:[^\r]*/i, "").replace(/\r\n$/, "connection: close\r\n\r\n"),
      "latin1",
    )
  }

  #tell({ method, url, headers }: Head, startedAt: Milliseconds): void {
    const header = (name: string): string | undefined => headers.get(name)
    const at = { startedAt, ackedAt: Date.now() }
    if (method === "BAN") {
      const host = new RegExp(header("x-tidemark-ban-host") ?? "")
      const path = new RegExp(header("x-tidemark-ban-url") ?? "")
      const isOurs = host.test(new URL(SITE_ORIGIN).host)
      this.#onPurge({ ...at, isHard: true, covers: (page) => isOurs && path.test(pathOf(page)) })
      return
    }
    const hard = header("xkey-purge")
    const keys = hard ?? header("xkey-softpurge")
    if (keys === undefined) {
      const isHard = header("x-tidemark-mode") !== "invalidate"
      this.#onPurge({ ...at, isHard, covers: (page) => isPath(page, url) })
      return
    }
    const named = new Set(keys.split(" "))
    const covers = (page: number) => labelsOf(page).some((label) => named.has(label))
    this.#onPurge({ ...at, isHard: hard !== undefined, covers })
  }
}

const END_OF_HEAD = "\r\n\r\n"

function headOf(text: string): Head {
  const [first = "", ...lines] = text.trimEnd().split("\r\n")
  const [method = "", url = ""] = first.split(" ")
  const headers = lines.map((line): [string, string] => {
    const colon = line.indexOf(":")
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
  })
  return { method, url, headers: new Map(headers) }
}
