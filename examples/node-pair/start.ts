import { type ChildProcess, spawn } from "node:child_process"
import { existsSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"

/** Starts two of `server.ts`, each a process of its own, beside `npm start`. */

const TOKEN_FILE = ".tidemark/dev.token"

const {
  REDIS_URL = "redis://127.0.0.1:6390",
  TIDEMARK_URL = "http://127.0.0.1:8787",
  TIDEMARK_TOKEN = existsSync(TOKEN_FILE) ? readFileSync(TOKEN_FILE, "utf8").trim() : "",
  NODE_PAIR_PORTS = "3001 3002",
} = process.env

const servers = NODE_PAIR_PORTS.split(" ").map((PORT): ChildProcess =>
  spawn(
    process.execPath,
    [
      "--import",
      new URL("in-clone.ts", import.meta.url).href,
      fileURLToPath(new URL("server.ts", import.meta.url)),
    ],
    {
      env: { ...process.env, PORT, REDIS_URL, TIDEMARK_URL, TIDEMARK_TOKEN },
      stdio: ["ignore", "inherit", "inherit"],
    },
  ),
)

let isEnding = false
function end(): void {
  if (isEnding) return
  isEnding = true
  for (const server of servers) server.kill("SIGTERM")
}
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, end)
for (const server of servers) {
  server.once("exit", (code) => {
    process.exitCode ||= code ?? 1
    end()
  })
}
