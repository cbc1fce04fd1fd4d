import { once } from "node:events"
import { createServer } from "node:http"

/** A CDN that takes every purge at once, and notes when each tag of it arrived. In this process: one clock. */
export interface Vendor {
  readonly url: string
  /** By tag; `performance.now()`. */
  readonly seen: Map<string, number>
  readonly calls: () => number
  close(): void
}

/** @param tagsOf what a call's body says, as JSON: the tags in it */
export async function startVendor(tagsOf: (body: unknown) => readonly string[]): Promise<Vendor> {
  const seen = new Map<string, number>()
  let calls = 0
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on("data", (part: Buffer) => parts.push(part))
    request.on("end", () => {
      const at = performance.now()
      calls += 1
      for (const tag of tagsOf(JSON.parse(Buffer.concat(parts).toString())))
        if (!seen.has(tag)) seen.set(tag, at)
      response.end("{}")
    })
  })
  server.keepAliveTimeout = 60_000
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  return {
    url: `http://127.0.0.1:${typeof address === "object" && address ? address.port : 0}/`,
    seen,
    calls: () => calls,
    close: () => server.close(),
  }
}
