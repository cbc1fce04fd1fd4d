import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { expect, it, vi } from "vitest"
import { type Exchange, fakeWorker } from "../testing/fake-worker.ts"
import { run, start, TOKEN } from "../testing/run.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

const POLLED = { timeout: 20_000, interval: 20 }

const told: Exchange = {
  method: "POST",
  path: "/v1/drain",
  status: 202,
  answer: { id: "r-1\u001b[31m", draining: true },
}

const health = (members: Partial<Exchange> = {}): Exchange => ({
  method: "GET",
  path: "/healthz",
  answer: { ok: true },
  ...members,
})

const SAID = "relay r-1\ufffd[31m is told to finish what is under way, and to end\n"

const envOf = (url: string) => ({ TIDEMARK_RELAY_URL: url, TIDEMARK_TOKEN: TOKEN })

async function drain(args: readonly string[], exchanges: readonly Exchange[]) {
  await using relay = await fakeWorker(TOKEN, exchanges)
  const result = await run(["drain", "--yes", ...args], { env: envOf(relay.url) })
  expect(relay.complaints()).toEqual([])
  return result
}

it("tells the relay to end", async () => {
  expect(await drain([], [told])).toEqual({ code: 0, stdout: SAID, stderr: "" })
})

it("prints the answer as one object with --json", async () => {
  const { code, stdout } = await drain(["--json"], [told])
  expect(code).toBe(0)
  expect(JSON.parse(stdout)).toEqual(told.answer)
})

it("that the answer does not speak of is exit 1", async () => {
  expect((await drain([], [{ ...told, answer: { id: "r-1", draining: false } }])).code).toBe(1)
})

it.for([{ json: false }, { json: true }])(
  "with --wait ends once nothing answers: $json",
  async ({ json }) => {
    // Whatever it answers while it drains, it is there.
    const relay = await fakeWorker(TOKEN, [
      told,
      health(),
      health({ status: 503, answer: "<html>Bad Gateway</html>" }),
      health({ always: true }),
    ])
    try {
      const args = ["drain", "--yes", "--wait=60", ...(json ? ["--json"] : [])]
      const { child, finished } = start(args, { env: envOf(relay.url) })
      await expect.poll(() => relay.count(), POLLED).toBeGreaterThanOrEqual(5)
      expect(child.exitCode).toBeNull()
      await relay[Symbol.asyncDispose]()
      const { code, stdout, stderr } = await finished
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
      if (json) expect(JSON.parse(stdout)).toEqual(told.answer)
      else expect(stdout).toBe(`${SAID}it has ended: nothing answers there any more\n`)
      expect(relay.complaints()).toEqual([])
    } finally {
      await relay[Symbol.asyncDispose]()
    }
  },
)

it("with --wait is exit 3 where it is still there when the time is over", async () => {
  const { code, stdout, stderr } = await drain(["--wait", "0.4"], [told, health({ always: true })])
  expect({ code, stdout, stderr }).toEqual({ code: 3, stdout: SAID, stderr: "still there after 0.4 s\n" })
})

it("with --wait does not take one that is too busy to answer for one that has ended", async () => {
  const server = createServer((request, response) => {
    if (request.method === "POST") response.writeHead(202).end(JSON.stringify(told.answer))
  })
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening))
  try {
    const { port } = server.address() as AddressInfo
    const { code, stderr } = await run(["drain", "--yes", "--wait", "0.4"], {
      env: envOf(`http://127.0.0.1:${port}`),
    })
    expect({ code, stderr }).toEqual({ code: 3, stderr: "still there after 0.4 s\n" })
  } finally {
    server.closeAllConnections()
    server.close()
  }
})
