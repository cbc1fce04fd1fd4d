import { createServer, type IncomingMessage, request as ask, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
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
 * - `lying`   200, and nothing is done: what `--break purge` is
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

/** Stands before Varnish for whoever purges, and sees what is asked and answered. Visitors do not come this way. */
export class PurgeProxy {
  readonly #varnish: URL
  readonly #onPurge: (purge: Purge) => void
  readonly #server = createServer((request, response) => this.#take(request, response))
  readonly #silenced = new Set<ServerResponse>()
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
    this.#server.closeAllConnections()
    await closed
  }

  behave(manner: PurgeManner): void {
    this.#manner = manner
    if (manner === "silent") return
    // Whoever still waits has a connection that is dead.
    for (const response of this.#silenced) response.destroy()
    this.#silenced.clear()
  }

  #take(request: IncomingMessage, response: ServerResponse): void {
    const manner = this.#manner
    const startedAt = Date.now()
    request.resume()
    switch (manner) {
      case "silent":
        this.#silenced.add(response)
        response.once("close", () => this.#silenced.delete(response))
        return
      case "refused":
        response.destroy()
        return
      case "failing":
        response.writeHead(503).end()
        return
      case "lying":
        this.#tell(request, startedAt)
        response.writeHead(200, { "x-tidemark-purged": "0" }).end()
        return
      case "open":
      case "mute":
        this.#pass(request, response, startedAt, manner === "mute")
    }
  }

  #pass(request: IncomingMessage, response: ServerResponse, startedAt: Milliseconds, isMute: boolean): void {
    const { method = "PURGE", url: path = "/", headers } = request
    const passed = ask({ host: this.#varnish.hostname, port: this.#varnish.port, method, path, headers })
    passed.once("response", (answer) => {
      if (answer.statusCode === 200) this.#tell(request, startedAt)
      if (isMute) {
        answer.resume()
        response.destroy()
        return
      }
      response.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(response)
    })
    passed.once("error", () => response.destroy())
    passed.end()
  }

  #tell({ method, url = "/", headers }: IncomingMessage, startedAt: Milliseconds): void {
    const header = (name: string): string | undefined => {
      const value = headers[name]
      return Array.isArray(value) ? value.join(" ") : value
    }
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
