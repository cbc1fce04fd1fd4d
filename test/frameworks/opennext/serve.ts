import { fileURLToPath } from "node:url"
import { build } from "esbuild"
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from "miniflare"
import { COMPATIBILITY_DATE } from "../../../cli/dev/serve-worker.ts"
import type { Order, Report } from "./worker.ts"

/** OpenNext's caches in workerd, over a D1, a KV and Durable Objects of their own. */
export interface DrivenCaches {
  carry(order: Order): Promise<Report>
  stop(): Promise<void>
}

/** @param bindings texts */
export async function startDrivenCaches(
  bindings: Readonly<Record<string, string>> = {},
): Promise<DrivenCaches> {
  const bundled = await build({
    entryPoints: [fileURLToPath(new URL("worker.ts", import.meta.url))],
    bundle: true,
    format: "esm",
    target: "es2024",
    conditions: ["workerd", "worker"],
    external: ["node:*", "cloudflare:*"],
    define: { "process.env.NEXT_PRIVATE_DEBUG_CACHE": "undefined" },
    write: false,
  })
  const runtime = new Miniflare(
    convertV4MiniflareOptions({
      name: "opennext",
      modules: true,
      script: bundled.outputFiles[0]?.text ?? "",
      compatibilityDate: COMPATIBILITY_DATE,
      compatibilityFlags: ["nodejs_compat"],
      bindings: { ...bindings },
      d1Databases: ["NEXT_TAG_CACHE_D1"],
      kvNamespaces: ["NEXT_INC_CACHE_KV", "NEXT_TAG_CACHE_KV"],
      durableObjects: {
        NEXT_TAG_CACHE_DO_SHARDED: { className: "DOShardedTagCache", useSQLite: true },
      },
      cf: false,
      log: new Log(LogLevel.ERROR),
      // OpenNext logs the errors of its stores, some of which are meant to fail.
      handleStructuredLogs() {},
    }),
  )
  const { origin } = await runtime.ready
  return {
    async carry(order) {
      const response = await fetch(origin, { method: "POST", body: JSON.stringify(order) })
      if (!response.ok) throw new Error(`${JSON.stringify(order)}: ${await response.text()}`)
      return (await response.json()) as Report
    },
    stop: () => runtime.dispose(),
  }
}
