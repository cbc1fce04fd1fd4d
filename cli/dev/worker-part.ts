import { createInterface } from "node:readline"
import { bundleWorker } from "./bundle.ts"
import { serveWorker } from "./serve-worker.ts"

/** What a part that runs in workerd is told, in one line of JSON on standard input: bindings hold secrets. */
export interface WorkerPartSettings {
  readonly part: string
  readonly entry: string
  /** A file beside which imports of the entry are looked for. */
  readonly from: string
  readonly bindings: Readonly<Record<string, string>>
  readonly host: string
  readonly port: number
  readonly portVariable: string
  readonly tokenFile?: string
  /** What `findDevTools` answered. Default: this package's own folder. */
  readonly tools?: string
}

/** Bundles and serves one Worker until SIGTERM, or until standard input ends with whoever started it. */
async function serve(
  { part, entry, from, tokenFile, ...where }: WorkerPartSettings,
  over: Promise<void>,
): Promise<void> {
  const script = await bundleWorker(entry, from, where.tools)
  const worker = await serveWorker({
    script,
    onLine: (text) => void process.stderr.write(`${text}\n`),
    ...where,
  })
  const line = { event: "ready", part, url: worker.url, ...(tokenFile === undefined ? {} : { tokenFile }) }
  process.stdout.write(`${JSON.stringify(line)}\n`)
  await over
  await worker.stop()
}

const input = createInterface({ input: process.stdin })
const stopped = new Promise<void>((stop) => {
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop())
  input.once("close", () => stop())
})
const settings = await new Promise<string>((read) => input.once("line", read))
try {
  await serve(JSON.parse(settings) as WorkerPartSettings, stopped)
  process.exit(0)
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : "unknown"}\n`)
  process.exit(1)
}
