import type { Miniflare } from "miniflare"
import { loadTool } from "./tools.ts"

/** The compatibility date of everything that we run in workerd; the one of wrangler.toml. */
export const COMPATIBILITY_DATE = "2026-10-01"

export interface ServeOptions {
  readonly script: string
  readonly bindings: Readonly<Record<string, string>>
  readonly host: string
  /** 0: any free one. */
  readonly port: number
  readonly portVariable: string
  /** What `findDevTools` answered. Default: this package's own folder. */
  readonly tools?: string
  /** Told of each line that the Worker writes on its console. Default: nobody is. */
  readonly onLine?: (line: string) => void
}

/**
 * Serves one Worker in workerd, with a Cache API of its own and nothing that leaves this machine.
 *
 * @throws {Error} when the port is taken, naming the variable that sets another
 */
export async function serveWorker({
  script,
  bindings,
  host,
  port,
  portVariable,
  tools,
  onLine,
}: ServeOptions): Promise<{ url: string; stop(): Promise<void> }> {
  const { Miniflare: Runtime, convertV4MiniflareOptions, Log, LogLevel } = loadTool("miniflare", tools)
  const runtime: Miniflare = new Runtime(
    convertV4MiniflareOptions({
      name: "tidemark",
      modules: true,
      script,
      compatibilityDate: COMPATIBILITY_DATE,
      bindings: { ...bindings },
      host,
      port,
      // Else it asks Cloudflare what `request.cf` would be.
      cf: false,
      log: new Log(LogLevel.ERROR),
      ...(onLine ? { handleStructuredLogs: ({ message }) => onLine(message) } : {}),
    }),
  )
  try {
    const { origin } = await runtime.ready
    return { url: origin, stop: () => runtime.dispose() }
  } catch (error) {
    await runtime.dispose().catch(() => {})
    const taken = error instanceof Error && /address already in use|EADDRINUSE/i.test(error.message)
    throw taken
      ? new Error(`port ${port} is taken: set ${portVariable} to another, or to 0 for any free one`)
      : error
  }
}
