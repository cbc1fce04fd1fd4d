import { once } from "node:events"
import { createServer } from "node:http"

/** A CDN that takes every purge at once, and notes when each tag of it arrived. In this process: one clock. */
export interface Vendor {
  readonly url: string
  /** When each tag was first seen; `performance.now()`. */
  readonly seen: Map<string, number>
  readonly calls: () => number
  /** Tags that came although they were in `seen`. */
  readonly repeats: () => number
  /** Resolves once each of these tags was seen, or the patience is over: to those that were not. */
  all(tags: readonly string[], patience: number): Promise<readonly string[]>
  close(): void
}

/** @param tagsOf what a call's body says, as JSON: the tags in it */
export async function startVendor(tagsOf: (body: unknown) => readonly string[]): Promise<Vendor> {
  const seen = new Map<string, number>()
  const waiting = new Set<(tag: string) => void>()
  let calls = 0
  let repeats = 0
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on("data", (part: Buffer) => parts.push(part))
    request.on("end", () => {
      const at = performance.now()
      calls += 1
      for (const tag of tagsOf(JSON.parse(Buffer.concat(parts).toString()))) {
        if (seen.has(tag)) {
          repeats += 1
          continue
        }
        seen.set(tag, at)
        for (const note of waiting) note(tag)
      }
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
    repeats: () => repeats,
    all(tags, patience) {
      const missing = new Set(tags.filter((tag) => !seen.has(tag)))
      if (missing.size === 0) return Promise.resolve([])
      return new Promise((resolve) => {
        const end = () => {
          clearTimeout(timer)
          waiting.delete(note)
          resolve([...missing])
        }
        const note = (tag: string) => {
          missing.delete(tag)
          if (missing.size === 0) end()
        }
        const timer = setTimeout(end, patience)
        waiting.add(note)
      })
    },
    close: () => server.close(),
  }
}
