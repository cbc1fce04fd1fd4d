import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import { isDeepStrictEqual } from "node:util"

/** One request that is expected, and what it is answered with. */
export interface Exchange {
  readonly method: "GET" | "POST" | "DELETE"
  /** With its query, as it stands in the request line. */
  readonly path: string
  /** What the body must be; without it there must be none. */
  readonly body?: unknown
  /** Headers besides those that every request carries; `undefined` for one that must be absent. */
  readonly headers?: Readonly<Record<string, string | undefined>>
  readonly status?: number
  /** A string is sent as it is; without it there is no body. */
  readonly answer?: unknown
  readonly answerHeaders?: Readonly<Record<string, string>>
  /** Answers every further request like it too. */
  readonly always?: boolean
}

export interface FakeWorker extends AsyncDisposable {
  readonly url: string
  readonly port: number
  /** How many requests came. */
  readonly count: () => number
  /** What was not as expected; ends with what was expected and never came. */
  readonly complaints: () => string[]
}

/** A real HTTP server, the Worker's or the relay's stand-in, that takes the expected requests in their order, and complains of everything else. */
export async function fakeWorker(
  token: string | undefined,
  exchanges: readonly Exchange[],
  port = 0,
): Promise<FakeWorker> {
  const left = [...exchanges]
  const complaints: string[] = []
  let count = 0
  const server = createServer((request, response) => {
    count += 1
    const chunks: Buffer[] = []
    request.on("data", (chunk: Buffer) => chunks.push(chunk))
    request.on("end", () => {
      const [expected] = left
      if (!expected?.always) left.shift()
      const wrong = expected
        ? complaintsOf(expected, token, request, Buffer.concat(chunks).toString())
        : [`${request.method} ${request.url} was not expected`]
      complaints.push(...wrong)
      reply(
        response,
        wrong.length > 0 || !expected ? { status: 599, answer: { detail: wrong.join("; ") } } : expected,
      )
    })
  })
  await new Promise<void>((listening) => server.listen(port, "127.0.0.1", listening))
  const address = server.address()
  const bound = typeof address === "object" && address ? address.port : 0
  return {
    url: `http://127.0.0.1:${bound}`,
    port: bound,
    count: () => count,
    complaints: () => [
      ...complaints,
      ...left.filter(({ always }) => !always).map(({ method, path }) => `${method} ${path} never came`),
    ],
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((closed) => server.close(closed))
    },
  }
}

function complaintsOf(
  expected: Exchange,
  token: string | undefined,
  request: IncomingMessage,
  text: string,
): string[] {
  const { method, path, body, headers = {} } = expected
  const wrong: string[] = []
  const same = (name: string, got: unknown, wanted: unknown) => {
    if (!isDeepStrictEqual(got, wanted))
      wrong.push(`${name} is ${JSON.stringify(got)}, not ${JSON.stringify(wanted)}`)
  }
  same("method", request.method, method)
  same("path", request.url, path)
  same("body", text === "" ? undefined : (JSON.parse(text) as unknown), body)
  const always = {
    authorization: token === undefined ? undefined : `Bearer ${token}`,
    accept: "application/json",
    "content-type": body === undefined ? undefined : "application/json",
    "idempotency-key": undefined,
    prefer: undefined,
  }
  for (const [name, value] of Object.entries({ ...always, ...headers }))
    same(name, request.headers[name], value)
  if (!/^tidemark\/\d/.test(request.headers["user-agent"] ?? "")) wrong.push("user-agent is not tidemark's")
  return wrong
}

function reply(
  response: ServerResponse,
  { status = 200, answer, answerHeaders }: Omit<Exchange, "method" | "path">,
): void {
  if (answer === undefined) {
    response.writeHead(status, answerHeaders).end()
    return
  }
  const type = status >= 400 ? "application/problem+json" : "application/json"
  response.writeHead(status, { "content-type": type, ...answerHeaders })
  response.end(typeof answer === "string" ? answer : JSON.stringify(answer))
}

/** An address that nobody listens at. */
export async function nobody(): Promise<string> {
  const worker = await fakeWorker(undefined, [])
  await worker[Symbol.asyncDispose]()
  return worker.url
}
