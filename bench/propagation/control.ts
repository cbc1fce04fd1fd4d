import { once } from "node:events"
import { createServer } from "node:http"
import type { Readable } from "node:stream"
import { text } from "node:stream/consumers"

type Functions = Readonly<Record<string, (asked: never) => unknown>>

/** Serves functions of this process to the bench, by name: JSON in, JSON out. Says its address as the first line. */
export async function serveControl(functions: Functions): Promise<void> {
  const answer = async (url: string, body: Readable): Promise<string> => {
    const answers = functions[url.slice(1)]
    if (!answers) throw new Error(`there is no ${url}`)
    return JSON.stringify((await answers(JSON.parse(await text(body)) as never)) ?? null)
  }
  const server = createServer((request, response) => {
    answer(request.url ?? "", request).then(
      (said) => response.end(said),
      (error: unknown) => response.writeHead(500).end(error instanceof Error ? error.stack : ""),
    )
  })
  server.listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  if (typeof address !== "object" || !address) throw new Error("the control has no port")
  process.once("SIGTERM", () => process.exit(0))
  process.stdout.write(`http://127.0.0.1:${address.port}\n`)
}

/** Calls a function that a part of the bench serves. */
export async function tell<T>(url: string, name: string, asked: unknown = {}): Promise<T> {
  const response = await fetch(`${url}/${name}`, { method: "POST", body: JSON.stringify(asked) })
  const said = await response.text()
  if (!response.ok) throw new Error(`${name}: ${said}`)
  return JSON.parse(said) as T
}
