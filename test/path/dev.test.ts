import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises"
import { readFileSync } from "node:fs"
import { createServer } from "node:net"
import { once } from "node:events"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { execFileSync, spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { afterEach, beforeEach, expect, test } from "vitest"
import { run as runCommand } from "../../cli/testing/run.ts"
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

async function start(env: Readonly<Record<string, string>> = {}, isGroup = false): Promise<DevProcess> {
  const dev = await startDevProcess({ directory, env, isGroup })
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

test.runIf(process.platform === "linux")(
  "each part is given the secrets that it uses, and no others",
  async () => {
    const config = {
      namespaces: { blog: {} },
      sources: { cms: { type: "contentful", secret: { secret: "CMS_SECRET" }, namespace: "blog" } },
      targets: {
        cdn: {
          type: "http",
          url: "http://127.0.0.1:9/",
          secret: { secret: "CDN_SECRET" },
          namespaces: ["blog"],
        },
      },
    }
    await writeFile(
      join(directory, "tidemark.config.ts"),
      `import { defineConfig } from "tidemark/config"\nexport default defineConfig(${JSON.stringify(config)})\n`,
    )
    const held = {
      CDN_SECRET: `whsec_${btoa("CANARY".repeat(5))}`,
      CMS_SECRET: "CMS".repeat(22).slice(0, 64),
    }
    await writeFile(
      join(directory, ".dev.vars"),
      Object.entries({ ...held, UNRELATED: "UNRELATED-CANARY" })
        .map(([name, value]) => `${name}="${value}"\n`)
        .join(""),
    )
    const dev = await start()
    const environments = execFileSync("sh", ["-c", `pgrep -P ${dev.child.pid}`])
      .toString()
      .trim()
      .split("\n")
      .map((pid) => ({
        command: readFileSync(`/proc/${pid}/cmdline`, "utf8"),
        text: readFileSync(`/proc/${pid}/environ`, "utf8"),
      }))
    expect(environments.length).toBeGreaterThanOrEqual(5)
    for (const { command, text } of environments) {
      const isRelay = command.includes("relay")
      expect([command, text.includes(held.CDN_SECRET)]).toEqual([command, isRelay])
      expect(text).not.toContain(held.CMS_SECRET)
      expect(text).not.toContain("UNRELATED-CANARY")
    }
  },
)

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
  const statusOf = (part: string, headers: Readonly<Record<string, string>>) => {
    const { hostname, port } = new URL(dev.urls[part] ?? "")
    return new Promise((done, fail) => {
      request({ hostname, port, path: "/healthz", headers }, (response) => done(response.resume().statusCode))
        .on("error", fail)
        .end()
    })
  }
  // What miniflare takes a request's url from, whoever sends it.
  const claims = ["x-forwarded-host", "mf-original-url", "mf-op-original-url"].map((name) => ({
    [name]: name === "x-forwarded-host" ? "localhost" : "http://localhost/healthz",
  }))
  for (const part of ["worker", "relay", "gateway"]) {
    for (const claim of [{}, ...claims, { "x-forwarded-proto": "https" }])
      expect(await statusOf(part, { host: "evil.example", ...claim })).toBe(421)
    expect(await statusOf(part, { host: `LOCALHOST:${new URL(dev.urls[part] ?? "").port}` })).not.toBe(421)
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

/** Processes by what is in their environment: every part inherits it, Redis and Varnish excepted, and their children. */
const processesOf = (mark: string): string[] =>
  execFileSync("sh", ["-c", `grep -slz "^TIDEMARK_TEST_MARK=${mark}$" /proc/[0-9]*/environ || true`])
    .toString()
    .split("\n")
    .filter((line) => line !== "")

const commandsOf = (mark: string): string =>
  processesOf(mark)
    .map((path) => {
      try {
        return readFileSync(path.replace("environ", "cmdline"), "utf8")
      } catch {
        return ""
      }
    })
    .join("\n")

/** Whether it runs: one that has ended and was not yet waited for has no memory any more. */
const isThere = async (pid: number): Promise<boolean> =>
  (await readFile(`/proc/${pid}/status`, "utf8").catch(() => "")).includes("VmRSS")

const descendantsOf = (pid: number): number[] => {
  const children = execFileSync("sh", ["-c", `pgrep -P ${pid} || true`])
    .toString()
    .split("\n")
    .flatMap((line) => (line === "" ? [] : [Number(line)]))
  return [...children, ...children.flatMap(descendantsOf)]
}

test("Ctrl-C at its terminal ends all of it, with code 0, and starts nothing again", async () => {
  const dev = await start({}, true)
  const { pid = 0 } = dev.child
  const parts = descendantsOf(pid)
  expect(parts.length).toBeGreaterThan(5)
  const exited = once(dev.child, "exit")
  await expect.poll(dev.said, { timeout: 15_000 }).toContain("npx tidemark source test")
  const before = dev.said().trimEnd().length
  // As a terminal does it: to everyone in the foreground group.
  process.kill(-pid, "SIGINT")
  expect(await exited).toEqual([0, null])
  expect(dev.said().slice(before).trim()).toBe("")
  expect(dev.lines.at(-1)).toEqual({ event: "ready", part: "all" })
  const left = async () => {
    const are = await Promise.all(parts.map(isThere))
    return parts.filter((_, index) => are[index])
  }
  await expect.poll(left, { timeout: 15_000 }).toEqual([])
})

test.for(["redis", "gateway", "worker", "site"])(
  "Ctrl-C while it starts, once %s is up, ends it as quietly",
  async (last) => {
    const mark = `${process.pid}-${last}`
    const command = fileURLToPath(new URL("../../cli/tidemark.js", import.meta.url))
    const ports = { TIDEMARK_WORKER_PORT: "0", TIDEMARK_RELAY_PORT: "0", TIDEMARK_GATEWAY_PORT: "0" }
    const child = spawn(process.execPath, [command, "dev"], {
      cwd: directory,
      env: {
        PATH: process.env.PATH ?? "",
        HOME: process.env.HOME ?? "",
        ...ports,
        TIDEMARK_SITE_PORT: "0",
        TIDEMARK_TEST_MARK: mark,
      },
      detached: true,
    })
    let [stdout, stderr] = ["", ""]
    child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()))
    const exited = once(child, "exit")
    await new Promise<void>((ready) =>
      child.stdout.on("data", (chunk: Buffer) => {
        stdout += chunk.toString()
        if (stdout.includes(`"part":"${last}"`)) ready()
      }),
    )
    expect(stdout).not.toContain(`"part":"all"`)
    // The next part is a process already, and not yet ready; after the gateway, with a child of its own that bundles.
    const isUnderWay = () =>
      last === "gateway" ? commandsOf(mark).includes("esbuild") : processesOf(mark).length > 1
    await expect.poll(isUnderWay, { timeout: 15_000, interval: 5 }).toBe(true)
    process.kill(-(child.pid ?? 0), "SIGINT")
    expect(await exited).toEqual([0, null])
    expect(stderr).toBe("")
    await expect.poll(() => processesOf(mark), { timeout: 15_000 }).toEqual([])
  },
)

const OWN = {
  namespaces: { press: { hosts: ["press.example.com"] }, shop: {} },
  sources: {
    "cms-main": {
      type: "payload",
      secret: { secret: "CMS_SECRET" },
      namespace: "press",
      rules: [{ tags: ["post-{id}", "all-posts"] }],
    },
  },
  targets: {
    front: { type: "varnish", endpoints: "dev", namespaces: ["press"] },
    "dry-run": { type: "print", namespaces: ["*"] },
  },
}

const configure = (config: object = OWN): Promise<void> =>
  writeFile(join(directory, "tidemark.config.mjs"), `export default ${JSON.stringify(config)}\n`)

test("tells of each publish, webhook and purge in a line, of the refused ones why, and of print what it prints", async () => {
  await configure()
  const dev = await start()
  const tidemark = (...args: string[]) => runCommand(args, { cwd: directory })
  const published = await tidemark("publish", "press", "--tag", "post-42", "--wait")
  expect([published.code, published.stderr]).toEqual([0, ""])
  const told = () => dev.said().split("\n")
  const line = (pattern: RegExp) =>
    expect.poll(told, { timeout: 15_000 }).toContainEqual(expect.stringMatching(pattern))
  await line(/^worker {3}publish {2}press {2}tag post-42 {2}202 {2}accepted \d{16}$/)
  await line(/^relay {4}purge {4}front {2}tag post-42, tag ns\/press\/\+ {2}200 {2}\d+ ms$/)
  await line(/^relay {4}print {4}dry-run {2}\{.*"tags":\["post-42"\].*\}$/)
  // As it was typed by `dev` itself.
  expect(dev.said()).toContain("npx tidemark source test cms-main --wait")
  const sample = await tidemark("source", "test", "cms-main", "--wait")
  expect(sample.code).toBe(0)
  await line(/^worker {3}webhook {2}cms-main {2}200 {2}accepted \d{16}$/)

  const hidden = "whsec_that-no-line-may-hold"
  const refused = await fetch(`${dev.urls.worker}/v1/hooks/cms-main`, {
    method: "POST",
    headers: { "webhook-id": "a", "webhook-timestamp": "1", "webhook-signature": `v1,${hidden}` },
    body: `{"secret":"${hidden}"}`,
  })
  expect(refused.status).toBe(401)
  await line(/^worker {3}webhook {2}cms-main {2}401 {2}No signature is by a secret of this source\.$/)
  await fetch(`${dev.urls.worker}/v1/hooks/nobody`, { method: "POST", body: "{}" })
  await line(/^worker {3}webhook {2}nobody {2}404 {2}No source of that name is configured\.$/)
  await fetch(`${dev.urls.worker}/v1/invalidations`, {
    method: "POST",
    headers: { authorization: `Bearer tm_${"x".repeat(43)}` },
    body: '{"namespace":"press"}',
  })
  await line(/^worker {3}publish {2}press {2}401 {2}/)
  for (const secret of [hidden, dev.token, "tm_xx"]) expect(dev.said()).not.toContain(secret)
})

test("what it hints at is of the configuration that it runs, and the demo's site is the demo's", async () => {
  await configure()
  const dev = await start()
  await expect.poll(dev.said, { timeout: 15_000 }).toContain("npx tidemark source test")
  expect(dev.said()).toContain("npx tidemark publish press --tag all-posts --wait")
  expect(dev.said()).not.toContain("blog")
  expect(dev.said()).not.toContain("site, cached at the edge")
  const hint = /npx tidemark (publish .*)/.exec(dev.said())?.[1] ?? ""
  expect((await runCommand(hint.split(" "), { cwd: directory })).code).toBe(0)
})

test("other commands find where it answers; once it has ended they say that", async () => {
  const dev = await start()
  const file = join(directory, ".tidemark", `dev-${dev.child.pid}.json`)
  expect(await modeOf(file)).toBe("600")
  expect(await readFile(file, "utf8")).not.toContain(dev.token)
  expect(await readFile(join(directory, ".tidemark", ".gitignore"), "utf8")).toBe("*\n")
  const tidemark = (...args: string[]) => runCommand(args, { cwd: directory })
  expect((await tidemark("log")).code).toBe(0)
  expect((await tidemark("lanes")).code).toBe(0)
  // A later one counts while it runs, and the earlier one after that.
  const later = await start()
  const epoch = await publishUntilDone(later)
  expect((await tidemark("status", epoch)).code).toBe(0)
  expect(await later.stop()).toBe(0)
  expect((await tidemark("status", epoch)).code).toBe(1)

  dev.child.kill("SIGKILL")
  await once(dev.child, "exit")
  const { code, stderr } = await tidemark("log", "--url", dev.urls.worker ?? "")
  expect([code, stderr.includes("has ended")]).toEqual([5, false])
  const stale = await tidemark("lanes")
  // At the usual port somebody else may answer.
  if (stale.code === 5) expect(stale.stderr).toContain(`the tidemark dev that wrote ${file} has ended`)
  const next = await start()
  await expect(stat(file)).rejects.toThrow("ENOENT")
  expect(await next.stop()).toBe(0)
})
