import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises"
import { createServer } from "node:net"
import { once } from "node:events"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { afterEach, beforeEach, expect, test } from "vitest"
import { type DevProcess, startDevProcess } from "../support/dev-process.ts"

/** `tidemark dev` as an outsider meets it: lines on standard output, files, signals. */

let directory: string
const started: DevProcess[] = []
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "tidemark-outside-"))
})
afterEach(async () => {
  for (const dev of started.splice(0)) if (dev.child.exitCode === null) await dev.stop()
  await rm(directory, { recursive: true, force: true })
})

async function start(env: Readonly<Record<string, string>> = {}): Promise<DevProcess> {
  const dev = await startDevProcess({ directory, env })
  started.push(dev)
  return dev
}

/** What ends by itself: exit code and standard error. */
async function run(env: Readonly<Record<string, string>>): Promise<{ code: number | null; stderr: string }> {
  const command = fileURLToPath(new URL("../../cli/tidemark.js", import.meta.url))
  const child = spawn(process.execPath, [command, "dev"], {
    cwd: directory,
    env: { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? "", ...env },
  })
  let stderr = ""
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()))
  const [code] = (await once(child, "exit")) as [number | null]
  return { code, stderr }
}

const modeOf = async (path: string): Promise<string> => ((await stat(path)).mode & 0o777).toString(8)

async function publishUntilDone(dev: DevProcess): Promise<string> {
  const headers = { authorization: `Bearer ${dev.token}` }
  const answer = await fetch(`${dev.urls.worker}/v1/invalidations`, {
    method: "POST",
    headers,
    body: new TextEncoder().encode('{"namespace":"blog","tags":["a"]}'),
  })
  expect(answer.status).toBe(202)
  const { id } = (await answer.json()) as { id: string }
  const state = async () =>
    (
      (await (await fetch(`${dev.urls.relay}/v1/invalidations/${id}`, { headers })).json()) as {
        state: string
      }
    ).state
  await expect.poll(state, { timeout: 15_000 }).toBe("done")
  return id
}

test("two starts beside one file share its token and do not disturb each other", async () => {
  const [one, two] = [await start(), await start()]
  expect(two.token).toBe(one.token)
  for (const part of ["redis", "gateway", "worker", "relay", "varnish", "site"]) {
    expect(one.urls[part]).toBeDefined()
    expect(two.urls[part]).not.toBe(one.urls[part])
  }
  const [first, second] = await Promise.all([publishUntilDone(one), publishUntilDone(two)])
  const known = async (dev: DevProcess, id: string) =>
    (
      await fetch(`${dev.urls.worker}/v1/invalidations/${id}`, {
        headers: { authorization: `Bearer ${dev.token}` },
      })
    ).status
  expect([await known(one, second), await known(two, first)]).toEqual([404, 404])
  expect(await two.stop()).toBe(0)
  await publishUntilDone(one)
  expect(await one.stop()).toBe(0)
})

test("secrets are made up once, for their owner alone, and the ready lines say where the token is", async () => {
  const dev = await start()
  expect(dev.lines.at(-1)).toEqual({ event: "ready", part: "all" })
  const files = ["dev.token", "dev.vars"].map((name) => join(directory, ".tidemark", name))
  expect(await Promise.all(files.map(modeOf))).toEqual(["600", "600"])
  expect(dev.lines.filter(({ tokenFile }) => tokenFile === files[0]).map(({ part }) => part)).toEqual([
    "worker",
    "relay",
  ])
  const vars = await readFile(files[1] ?? "", "utf8")
  expect(vars).toMatch(/^CONTENTFUL_SECRET="[0-9a-zA-Z_-]{64}"$/m)
  await dev.stop()
  await start()
  expect(await readFile(files[1] ?? "", "utf8")).toBe(vars)
})

test("a part that dies is started again where it was, and says so", async () => {
  const dev = await start()
  const { relay } = dev.urls
  const pid = Number(
    (await import("node:child_process"))
      .execFileSync("pgrep", ["-P", String(dev.child.pid), "-f", "tidemark.js relay"])
      .toString(),
  )
  process.kill(pid, "SIGKILL")
  const readyRelays = () =>
    dev.lines.filter(({ event, part }) => event === "ready" && part === "relay").map(({ url }) => url)
  await expect.poll(readyRelays, { timeout: 20_000 }).toEqual([relay, relay])
  await publishUntilDone(dev)
})

test("a target without its secret is off, and its secret's name is printed", async () => {
  const config = {
    namespaces: { blog: {} },
    targets: {
      cdn: { type: "http", url: "http://127.0.0.1:9/", secret: { secret: "CDN_SECRET" }, namespaces: ["*"] },
    },
  }
  await writeFile(
    join(directory, "tidemark.config.ts"),
    `import { defineConfig } from "tidemark/config"\nexport default defineConfig(${JSON.stringify(config)})\n`,
  )
  const dev = await start()
  const headers = { authorization: `Bearer ${dev.token}` }
  const lanes = (await (await fetch(`${dev.urls.relay}/v1/lanes`, { headers })).json()) as unknown
  expect(lanes).toEqual({
    items: [{ tenant: "default", target: "cdn", state: "off", missing: ["CDN_SECRET"] }],
  })
  const answer = await fetch(`${dev.urls.worker}/v1/invalidations`, {
    method: "POST",
    headers,
    body: '{"namespace":"blog"}',
  })
  expect(((await answer.json()) as { targets: string[] }).targets).toEqual([])
})

test("a foreign Host is refused by every part", async () => {
  const dev = await start()
  const { request } = await import("node:http")
  for (const part of ["worker", "relay", "gateway"]) {
    const { hostname, port } = new URL(dev.urls[part] ?? "")
    const status = await new Promise((done, fail) => {
      request({ hostname, port, path: "/healthz", headers: { host: "evil.example" } }, (response) =>
        done(response.resume().statusCode),
      )
        .on("error", fail)
        .end()
    })
    expect(status).toBe(421)
  }
})

test("a taken port, a port that is none, an address that is not loopback, and a configuration with mistakes are told", async () => {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as { port: number }
  const ports = {
    TIDEMARK_WORKER_PORT: "0",
    TIDEMARK_RELAY_PORT: "0",
    TIDEMARK_GATEWAY_PORT: "0",
    TIDEMARK_SITE_PORT: "0",
  }
  for (const name of [
    "TIDEMARK_WORKER_PORT",
    "TIDEMARK_GATEWAY_PORT",
    "TIDEMARK_RELAY_PORT",
    "TIDEMARK_REDIS_PORT",
  ]) {
    const { code, stderr } = await run({ ...ports, [name]: String(port) })
    expect([code, stderr]).toEqual([1, expect.stringMatching(new RegExp(`port ${port} is taken.*${name}`))])
  }
  server.close()
  expect(await run({ TIDEMARK_WORKER_PORT: "x" })).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("TIDEMARK_WORKER_PORT"),
  })
  expect(await run({ TIDEMARK_HOST: "0.0.0.0" })).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("loopback"),
  })
  const mistakes = {
    tokens: [{ name: "A", sha256: "x", scopes: [] }],
    namespaces: { "no name": {} },
    targets: { cdn: { type: "fax", namespaces: ["*"] } },
    extra: 1,
  }
  await writeFile(join(directory, "tidemark.config.mjs"), `export default ${JSON.stringify(mistakes)}\n`)
  const { code, stderr } = await run({ TIDEMARK_CONFIG: join(directory, "tidemark.config.mjs") })
  expect(code).toBe(2)
  for (const path of [
    "tokens.0.name",
    "tokens.0.sha256",
    "tokens.0.scopes",
    "namespaces",
    "targets.cdn.type",
    "extra",
  ])
    expect(stderr).toContain(path)
})
