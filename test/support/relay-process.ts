import { type ChildProcess, spawn } from "node:child_process"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { hashToken } from "../../protocol/tokens.ts"
import type { ConfigInput } from "../../protocol/config/schema.ts"

const LAUNCHER = fileURLToPath(new URL("../../cli/tidemark.js", import.meta.url))

/** Tokens that tests call the relay by, and none of its output may hold. */
export const TOKENS = {
  operator: "tm_operator-token-that-no-output-may-hold-0000",
  reader: "tm_reader-token-that-no-output-may-hold-000000",
  nobody: "tm_nobody-token-that-no-output-may-hold-000000",
} as const

export async function tokenConfig(): Promise<NonNullable<ConfigInput["tokens"]>> {
  return [
    {
      name: "operator",
      sha256: await hashToken(TOKENS.operator),
      scopes: ["read:*", "metrics", "operate", "drain"],
    },
    { name: "reader", sha256: await hashToken(TOKENS.reader), scopes: ["read:blog"] },
    { name: "nobody", sha256: await hashToken(TOKENS.nobody), scopes: ["events:*"] },
  ]
}

export interface RelayOptions {
  readonly redisUrl: string
  /** Written as JSON into a file that imports `tidemark/config`, as a user's does. */
  readonly config: unknown
  /** Secrets, and whatever else is in the environment: nothing of this process's is. */
  readonly env?: Readonly<Record<string, string>>
  /** Default: one that was free a moment ago. */
  readonly port?: number
}

/** One line of the relay's log. */
export interface LogLine {
  /** pino's: 20 debug, 30 info, 40 warn. */
  readonly level: number
  readonly msg: string
  readonly [member: string]: unknown
}

export interface RelayProcess extends AsyncDisposable {
  readonly url: string
  readonly port: number
  readonly pid: number
  /** Resolves with the ready line, once there is one. */
  readonly ready: Promise<{ readonly event: string; readonly part: string; readonly url: string }>
  /** Its exit code, or null where a signal ended it. */
  readonly exited: Promise<number | null>
  readonly isRunning: boolean
  stdout(): string
  stderr(): string
  /** Its log so far, of one event or of all. */
  log(event?: string): LogLine[]
  get(path: string, token?: string | null, headers?: Readonly<Record<string, string>>): Promise<Response>
  /** By the operator's token unless another is given. */
  send(method: string, path: string, body?: unknown, token?: string | null): Promise<Response>
  json(path: string, token?: string | null): Promise<any>
  /** Ends it at once, as a machine does that loses its power. */
  kill(): Promise<void>
  /** Asks it to end, and resolves with its exit code. */
  stop(): Promise<number | null>
  signal(name: NodeJS.Signals): void
}

const ATTEMPTS = 5

/** Starts `tidemark relay` and waits until it listens, or has ended. Ready is another matter: see `ready`. */
export async function startRelayProcess(options: RelayOptions): Promise<RelayProcess> {
  const directory = await mkdtemp(join(tmpdir(), "tidemark-relay-"))
  const config = join(directory, "tidemark.config.ts")
  await writeFile(
    config,
    `import { defineConfig } from "tidemark/config"\n\nexport default defineConfig(${JSON.stringify(options.config)})\n`,
  )
  for (let attempt = 1; ; attempt += 1) {
    const port = options.port ?? (await freePort())
    const relay = spawnRelay(options, config, port, () => rm(directory, { recursive: true, force: true }))
    while (
      relay.isRunning &&
      !(await relay.get("/healthz").then(
        ({ ok }) => ok,
        () => false,
      ))
    )
      await nextTurn()
    const isTaken = !relay.isRunning && relay.stderr().includes(`port ${port} is taken`)
    if (!isTaken || options.port !== undefined || attempt === ATTEMPTS) return relay
  }
}

/** A moment for the event loop: what is waited for is another process. */
const nextTurn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5))

function spawnRelay(
  { redisUrl, env = {} }: RelayOptions,
  config: string,
  port: number,
  tidy: () => Promise<void>,
): RelayProcess {
  const child = spawn(process.execPath, [LAUNCHER, "relay"], {
    cwd: join(config, ".."),
    // It ends with us: whoever started it holds the other end of its standard input.
    stdio: ["pipe", "pipe", "pipe"],
    env: {
      PATH: process.env["PATH"],
      TMPDIR: tmpdir(),
      TIDEMARK_END_WITH_STDIN: "1",
      TIDEMARK_CONFIG: config,
      TIDEMARK_RELAY_PORT: String(port),
      REDIS_URL: redisUrl,
      ...env,
    },
  })
  const output = { stdout: keep(child.stdout), stderr: keep(child.stderr) }
  const ready = Promise.withResolvers<{ event: string; part: string; url: string }>()
  // Told to whoever waits for it. Where nobody does, a relay that ended is no reason to crash.
  ready.promise.catch(() => undefined)
  child.stdout.on("data", () => {
    const line = output
      .stdout()
      .split("\n")
      .find((one) => one.startsWith("{"))
    if (line !== undefined && output.stdout().includes("\n")) ready.resolve(JSON.parse(line))
  })
  const exited = endOf(child)
  void exited.then((code) => ready.reject(new Error(`the relay ended with ${code}: ${output.stderr()}`)))
  const url = `http://127.0.0.1:${port}`
  const get: RelayProcess["get"] = (path, token, headers = {}) =>
    fetch(url + path, { headers: { ...(token ? { authorization: `Bearer ${token}` } : {}), ...headers } })
  const relay: RelayProcess = {
    url,
    port,
    pid: child.pid ?? 0,
    ready: ready.promise,
    exited,
    get isRunning() {
      return child.exitCode === null && child.signalCode === null
    },
    stdout: output.stdout,
    stderr: output.stderr,
    log: (event) =>
      output
        .stderr()
        .split("\n")
        .flatMap((line): LogLine[] => (line.startsWith("{") ? [JSON.parse(line) as LogLine] : []))
        .filter(({ msg }) => event === undefined || msg === event),
    get,
    send: (method, path, body, token = TOKENS.operator) =>
      fetch(url + path, {
        method,
        headers: token ? { authorization: `Bearer ${token}` } : {},
        ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
      }),
    json: async (path, token = TOKENS.operator) => (await get(path, token)).json(),
    async kill() {
      child.kill("SIGKILL")
      await exited
    },
    async stop() {
      child.kill("SIGTERM")
      return exited
    },
    signal: (name) => void child.kill(name),
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL")
      await exited
      await tidy()
    },
  }
  return relay
}

/** Its exit code, when it has ended and all that it printed was read. */
const endOf = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve) => child.once("close", (code) => resolve(code)))

/** Whole lines only, as a line that is half written means nothing yet. */
function keep(stream: NodeJS.ReadableStream): () => string {
  let text = ""
  stream.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk
  })
  return () => text.slice(0, text.lastIndexOf("\n") + 1)
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening))
  const address = server.address()
  await new Promise((closed) => server.close(closed))
  return typeof address === "object" && address ? address.port : 0
}
