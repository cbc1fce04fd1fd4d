import { spawn } from "node:child_process"
import { once } from "node:events"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest"
import { type Edge, startEdge } from "../support/edge.ts"

let edge: Edge
beforeAll(async () => {
  edge = await startEdge({
    config: { namespaces: { catalog: {} } },
    scopes: { web: ["publish:catalog/products"] },
  })
})
afterAll(() => edge.stop())

test("two servers, started by one command, show what either of them changed, and end together", async () => {
  const start = fileURLToPath(new URL("../../examples/node-pair/start.ts", import.meta.url))
  const pair = spawn(process.execPath, [start], {
    env: {
      PATH: process.env["PATH"] ?? "",
      REDIS_URL: edge.redis.url,
      TIDEMARK_URL: edge.url,
      TIDEMARK_TOKEN: edge.tokens["web"] ?? "",
      NODE_PAIR_PORTS: "0 0",
    },
    stdio: ["ignore", "pipe", "inherit"],
  })
  onTestFinished(() => void pair.kill("SIGKILL"))
  const exited = once(pair, "exit")
  const urls: string[] = []
  createInterface(pair.stdout).on("line", (line) => urls.push(line))
  await expect.poll(() => urls).toHaveLength(2)

  const see = async (url: string) => {
    const response = await fetch(`${url}/lamp`)
    return `${response.status} ${(await response.text()).trim()} (${response.headers.get("x-from")})`
  }
  const [a = "", b = ""] = urls
  const change = async (body: string) => (await fetch(`${a}/lamp`, { method: "PUT", body })).status
  expect(await change("a red lamp")).toBe(200)
  expect(await see(b)).toBe("200 a red lamp (database)")
  expect(await see(b)).toBe("200 a red lamp (memory)")
  for (const lamp of ["a blue lamp", "a green lamp"]) {
    expect(await change(lamp)).toBe(200)
    // This one knows at once; the other when the wake has arrived.
    expect(await see(a)).toBe(`200 ${lamp} (database)`)
    await expect.poll(() => see(b), { timeout: 5_000 }).toBe(`200 ${lamp} (memory)`)
  }

  pair.kill("SIGTERM")
  expect(await exited).toEqual([0, null])
})
