import { spawn } from "node:child_process"
import { once } from "node:events"
import { chmod, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises"
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request,
  type ServerResponse,
} from "node:http"
import { connect } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest"
import type { RunningServer } from "./process.ts"
import { findRedis, findVarnish } from "./provision.ts"
import { startRedis } from "./redis.ts"
import { startVarnish } from "./varnish.ts"

const ADVICE = "install redis-server 7.0 or newer (or valkey-server) or set REDIS_URL"

describe("provision", () => {
  test("takes no program that does not answer --version", async () => {
    const directory = await temporaryDirectory()
    await writeFile(join(directory, "redis-server"), "")
    await writeFile(join(directory, "valkey-server"), "", { mode: 0o755 })
    const redis = await findRedis({ path: `${directory}:${process.env["PATH"]}` })
    expect(redis.file.startsWith(directory)).toBe(false)
    expect(redis.version).toMatch(/^\d+\.\d+/)
  })

  test.each([
    ["redis-server", "Redis server v=7.0.0 sha=00000000:0", "7.0.0"],
    ["redis-server", "Redis server v=10.0.1 sha=00000000:0", "10.0.1"],
    ["valkey-server", "Valkey server v=8.1.1 sha=00000000:0", "8.1.1"],
    ["redict-server", "Redict server v=7.3.6 sha=00000000:0", "7.3.6"],
  ])("takes %s from the PATH that says %s", async (name, said, version) => {
    const directory = await temporaryDirectory()
    const cacheDirectory = await temporaryDirectory()
    await script(join(directory, name), `echo '${said}'`)
    const found = { file: join(directory, name), env: {}, version }
    expect(await findRedis({ path: directory, cacheDirectory })).toEqual(found)
  })

  test.each([
    ["Redis server v=6.2.16 sha=00000000:0 malloc=jemalloc-5.1.0 bits=64", "6.2.16"],
    ["Redis server v=6.0.16 sha=00000000:0", "6.0.16"],
    ["Redis server v=5.0.14 sha=00000000:0", "5.0.14"],
  ])("refuses %s, and says what was found, what is needed and what to do", async (said, version) => {
    const directory = await temporaryDirectory()
    const cacheDirectory = await temporaryDirectory()
    const file = join(directory, "redis-server")
    await script(file, `echo '${said}'`)
    await expect(findRedis({ path: directory, cacheDirectory })).rejects.toThrow(
      `${file} is ${version}, and 7.0 or newer is needed; none could be fetched (apt-get is not on the PATH): ${ADVICE}`,
    )
  })

  test("says so where the system's packages are too old as well, and takes a newer one before an old one", async () => {
    const cacheDirectory = await temporaryDirectory()
    const lines: string[] = []
    const path = await fakeApt("6.0.16")
    await expect(findRedis({ path, cacheDirectory, onProgress: (line) => lines.push(line) })).rejects.toThrow(
      `no redis-server found and none could be fetched (the system's redis-server is 6.0.16, and 7.0 or newer is needed): ${ADVICE}`,
    )
    const old = join(path, "redis-server")
    await script(old, "echo 'Redis server v=6.2.16 sha=0'")
    await script(join(path, "valkey-server"), "echo 'Valkey server v=7.2.9 sha=0'")
    expect(await findRedis({ path, cacheDirectory })).toMatchObject({ version: "7.2.9" })

    const newer = await fakeApt("7.0.15")
    await script(join(newer, "redis-server"), "echo 'Redis server v=6.2.16 sha=0'")
    const found = await findRedis({
      path: newer,
      cacheDirectory,
      onProgress: (line) => lines.push(line),
    })
    expect(found.version).toBe("7.0.15")
    expect(lines).toContain(
      `${join(newer, "redis-server")} is 6.2.16, and 7.0 or newer is needed: looking for another …`,
    )
  })

  test("fetches side by side, past a broken package source, and replaces what does not work", async () => {
    const path = await fakeApt()
    const cacheDirectory = await temporaryDirectory()
    const lines: string[] = []
    const fetch = () => findRedis({ path, cacheDirectory, onProgress: (line) => lines.push(line) })
    const found = await Promise.all([fetch(), fetch(), fetch()])
    expect(new Set(found.map((redis) => redis.file)).size).toBe(1)
    expect(found[0]?.version).toBe("7.2.5")
    expect(await readdir(cacheDirectory)).toHaveLength(1)
    expect(lines).toContain("fetching redis-server (1.5 MB) …")

    const before = lines.length
    await fetch()
    expect(lines).toHaveLength(before)

    await rm(found[0]?.file ?? "")
    expect((await fetch()).version).toBe("7.2.5")
    expect(await readdir(cacheDirectory)).toHaveLength(1)
  })

  test("compiles VCL with a tcc of its own where there is no other compiler", async () => {
    const path = await temporaryDirectory()
    for (const tool of ["sh", "rm"]) await symlink(`/bin/${tool}`, join(path, tool))
    const onSystem = await findVarnish()
    // Where the system's Varnish was taken, nothing was fetched, and there is nothing to see here.
    if (onSystem.vmodPath === undefined) return
    const install = await findVarnish({ path })
    expect(install.ccCommand).toMatch(/^exec '.*\/tcc' /)
    const varnish = await startVarnish({ backend: { host: "127.0.0.1", port: 1 }, install })
    onTestFinished(() => varnish.stop())
    expect((await ask(varnish, "PURGE", "www.example.com/")).status).toBe(200)
  })
})

describe("redis", () => {
  test("starts, two side by side, and is gone after stop", async () => {
    const servers = await Promise.all([startRedis(), startRedis()])
    const [one, two] = servers
    onTestFinished(async () => void (await Promise.all(servers.map((server) => server.stop()))))
    expect(one.url).toBe(`redis://127.0.0.1:${one.port}`)
    expect(await command(one, "SET", "who", "one")).toBe("+OK")
    expect(await command(two, "GET", "who")).toBe("$-1")
    expect(await command(one, "CONFIG", "GET", "maxmemory-policy")).toContain("noeviction")
    expect(await command(one, "CONFIG", "GET", "save")).toBe("*2\r\n$4\r\nsave\r\n$0\r\n")

    await one.stop()
    await one.stop()
    expect(await one.exited).toBe(0)
    expect(() => process.kill(one.pid, 0)).toThrow("ESRCH")
    await expect(command(one, "PING")).rejects.toThrow("ECONNREFUSED")
    expect(await command(two, "PING")).toBe("+PONG")
  })

  test("keeps its data in a directory that it was given", async () => {
    const directory = await temporaryDirectory()
    const args = ["--appendonly", "yes", "--appendfsync", "always"]
    const first = await startRedis({ directory, args })
    onTestFinished(() => first.stop())
    expect(await command(first, "SET", "kept", "yes")).toBe("+OK")
    process.kill(first.pid, "SIGKILL")
    expect(await first.exited).toBe(null)

    const second = await startRedis({ directory, args, port: first.port })
    onTestFinished(() => second.stop())
    expect(second.port).toBe(first.port)
    expect(await command(second, "GET", "kept")).toBe("$3\r\nyes")
  })

  test("says that a port is taken, and does not take its owner for its own", async () => {
    const owner = await startRedis()
    onTestFinished(() => owner.stop())
    await expect(startRedis({ port: owner.port })).rejects.toMatchObject({
      code: "EADDRINUSE",
      message: `port ${owner.port} is taken: set TIDEMARK_REDIS_PORT to another, or to 0`,
    })
    expect(await command(owner, "PING")).toBe("+PONG")
  })

  test.runIf(process.platform === "linux")("does not outlive a parent that was killed", async () => {
    const directory = await temporaryDirectory()
    const program = `
      import { startRedis } from ${JSON.stringify(import.meta.resolve("./redis.ts"))}
      const { port } = await startRedis({ directory: ${JSON.stringify(directory)} })
      process.stdout.write(String(port))
    `
    const parent = spawn(process.execPath, ["--input-type=module", "--eval", program], {
      stdio: ["ignore", "pipe", "inherit"],
    })
    onTestFinished(() => void parent.kill("SIGKILL"))
    const [port] = await once(parent.stdout, "data")
    const orphan = { port: Number(port) }
    expect(await command(orphan, "PING")).toBe("+PONG")
    parent.kill("SIGKILL")
    await expect
      .poll(() => command(orphan, "PING").catch((error: Error) => error.message))
      .toMatch("ECONNREFUSED")
  })

  test("says why it did not start", async () => {
    await expect(startRedis({ args: ["--no-such-option", "1"] })).rejects.toThrow(/no-such-option/)
  })
})

describe("varnish", () => {
  const site = fakeSite()
  let varnish: RunningServer

  beforeAll(async () => {
    varnish = await startVarnish({ backend: { host: "127.0.0.1", port: await site.listen() } })
  })
  afterAll(async () => {
    await varnish.stop()
    await site.close()
  })
  const get = async (url: string) => (await ask(varnish, "GET", url)).body

  test("caches, and keeps its own headers to itself", async () => {
    site.keys.set("plain.test/a", "one two")
    expect(await get("plain.test/a")).toBe("plain.test/a 1")
    const answer = await ask(varnish, "GET", "PLAIN.test/a")
    expect(answer.body).toBe("plain.test/a 1")
    expect(Object.keys(answer.headers).filter((name) => /^x-tidemark|xkey/.test(name))).toEqual([])
    await ask(varnish, "GET", "plain.test/b", { "x-tidemark-host": "other.test", "xkey-purge": "one" })
    expect(site.asked("plain.test/b")).toBe(1)
    expect(site.lastHeaders["x-tidemark-host"]).toBe(undefined)
    expect(site.lastHeaders["xkey-purge"]).toBe(undefined)
    expect(await get("plain.test/a")).toBe("plain.test/a 1")
  })

  test("leaves alone what the site marks private", async () => {
    expect(await get("private.test/private")).toBe("private.test/private 1")
    expect(await get("private.test/private")).toBe("private.test/private 2")
  })

  test("runs side by side with another", async () => {
    const other = await startVarnish({ backend: { host: "127.0.0.1", port: site.port() } })
    onTestFinished(() => other.stop())
    expect(await get("two.test/")).toBe("two.test/ 1")
    expect((await ask(other, "GET", "two.test/")).body).toBe("two.test/ 2")
    expect((await ask(other, "BAN", "two.test/", { "x-tidemark-ban": "everything" })).status).toBe(200)
    expect(await get("two.test/")).toBe("two.test/ 1")
  })

  test("drops by key", async () => {
    site.keys.set("hard.test/a", "hard-1 hard-all")
    site.keys.set("hard.test/b", "hard-2, hard-all")
    for (const page of ["a", "b", "c"]) await get(`hard.test/${page}`)
    const one = await ask(varnish, "PURGE", "any.test/", { "xkey-purge": "hard-1" })
    expect([one.status, one.purged]).toEqual([200, "1"])
    expect(await get("hard.test/a")).toBe("hard.test/a 2")
    expect(await get("hard.test/b")).toBe("hard.test/b 1")

    const both = await ask(varnish, "PURGE", "any.test/", { "xkey-purge": "hard-0 hard-all" })
    expect([both.status, both.purged]).toEqual([200, "2"])
    expect(await get("hard.test/a")).toBe("hard.test/a 3")
    expect(await get("hard.test/b")).toBe("hard.test/b 2")
    expect(await get("hard.test/c")).toBe("hard.test/c 1")
    expect((await ask(varnish, "PURGE", "any.test/", { "xkey-purge": "nobody" })).purged).toBe("0")
  })

  test("takes 32 KB of keys in one header line, from either side", async () => {
    const keys = Array.from({ length: 1024 }, (_, index) => `long-${String(index).padStart(26, "0")}`).join(
      " ",
    )
    expect(keys.length).toBe(32 * 1024 - 1)
    site.keys.set("long.test/", keys)
    expect(await get("long.test/")).toBe("long.test/ 1")
    const answer = await ask(varnish, "PURGE", "any.test/", { "xkey-purge": keys })
    expect([answer.status, answer.purged]).toEqual([200, "1024"])
    expect(await get("long.test/")).toBe("long.test/ 2")
  })

  test("marks stale by key: the old page only while the one revalidation runs", async () => {
    site.keys.set("soft.test/a", "soft-1")
    await get("soft.test/a")
    const answer = await ask(varnish, "PURGE", "any.test/", { "xkey-softpurge": "soft-1" })
    expect([answer.status, answer.purged]).toEqual([200, "1"])
    await expectRevalidation("soft.test/a")
  })

  test("marks a URL stale, by a Host that is not the endpoint's", async () => {
    await get("soft-url.test/p?q=1")
    await get("soft-url.test/p?q=2")
    const answer = await ask(varnish, "PURGE", "soft-url.test/p?q=1", { "x-tidemark-mode": "invalidate" })
    expect([answer.status, answer.purged]).toEqual([200, "1"])
    await expectRevalidation("soft-url.test/p?q=1")
    expect(await get("soft-url.test/p?q=2")).toBe("soft-url.test/p?q=2 1")
  })

  test("drops a URL, with all its variants", async () => {
    const inDutch = { "accept-language": "nl" }
    await ask(varnish, "GET", "url.test/vary", inDutch)
    await ask(varnish, "GET", "url.test/vary", { "accept-language": "fr" })
    const answer = await ask(varnish, "PURGE", "URL.test/vary")
    expect([answer.status, answer.purged]).toEqual([200, "2"])
    expect((await ask(varnish, "GET", "url.test/vary", inDutch)).body).toBe("url.test/vary 3")
    expect((await ask(varnish, "PURGE", "url.test/never-asked-for")).purged).toBe("0")
    expect(site.asked("url.test/never-asked-for")).toBe(0)
  })

  test("goes by x-tidemark-host where it is sent", async () => {
    await get("named.test/")
    const headers = { "x-tidemark-host": "Named.test", "x-tidemark-mode": "purge" }
    expect((await ask(varnish, "PURGE", `127.0.0.1:${varnish.port}/`, headers)).purged).toBe("1")
    expect(await get("named.test/")).toBe("named.test/ 2")
  })

  test("does not queue a purge behind a fetch of the same page", async () => {
    const release = site.hold("busy.test/")
    const waiting = get("busy.test/")
    await expect.poll(() => site.asked("busy.test/")).toBe(1)
    expect((await ask(varnish, "PURGE", "busy.test/")).status).toBe(200)
    release()
    expect(await waiting).toBe("busy.test/ 1")
  })

  test("bans a host, and no other", async () => {
    for (const url of ["ban.test/a", "ban.test/b", "notban.test/a", "ban.test.evil.test/"]) await get(url)
    const answer = await ask(varnish, "BAN", "any.test/", { "x-tidemark-ban-host": String.raw`^ban\.test$` })
    expect(answer.status).toBe(200)
    expect(await get("ban.test/a")).toBe("ban.test/a 2")
    expect(await get("ban.test/b")).toBe("ban.test/b 2")
    expect(await get("notban.test/a")).toBe("notban.test/a 1")
    expect(await get("ban.test.evil.test/")).toBe("ban.test.evil.test/ 1")
  })

  test("bans a prefix of one host, and leaves an unrelated page its hit", async () => {
    const pages = ["/blog", "/blog/", "/blog/a?b=c", "/blogger", "/"].map((path) => `prefix.test${path}`)
    for (const url of [...pages, "unrelated.test/blog/"]) await get(url)
    const headers = { "x-tidemark-ban-host": "^prefix[.]test$", "x-tidemark-ban-url": "^/blog(?:[/?]|$)" }
    expect((await ask(varnish, "BAN", "any.test/", headers)).status).toBe(200)
    const now = await Promise.all([...pages, "unrelated.test/blog/"].map(get))
    expect(now.map((body) => body.at(-1))).toEqual(["2", "2", "2", "1", "1", "1"])
  })

  test("bans by path alone", async () => {
    for (const url of ["path-a.test/it's-here", "path-b.test/it's-here", "path-b.test/"]) await get(url)
    expect((await ask(varnish, "BAN", "any.test/", { "x-tidemark-ban-url": "^/it's-here" })).status).toBe(200)
    expect(await get("path-a.test/it's-here")).toBe("path-a.test/it's-here 2")
    expect(await get("path-b.test/it's-here")).toBe("path-b.test/it's-here 2")
    expect(await get("path-b.test/")).toBe("path-b.test/ 1")
  })

  test.each([
    ["a clause by &&", { "x-tidemark-ban-host": "nobody && obj.status != 0" }],
    ["a clause by tab", { "x-tidemark-ban-url": "^/none\t&&\tobj.status\t!=\t0" }],
    ["a clause after a quote", { "x-tidemark-ban-host": '"nobody"' }],
    ["a clause in a second line", { "x-tidemark-ban-host": ["nobody", "&& obj.status != 0"] }],
    ["an empty pattern", { "x-tidemark-ban-host": "" }],
    ["an empty pattern beside a good one", { "x-tidemark-ban-host": "", "x-tidemark-ban-url": "." }],
    ["what is no regular expression", { "x-tidemark-ban-url": "^/(a" }],
    ["an unknown word", { "x-tidemark-ban": "all" }],
    ["nothing", {}],
  ])("refuses a ban with %s", async (_, headers) => {
    await get("spared.test/")
    const hits = site.asked("spared.test/")
    expect((await ask(varnish, "BAN", "any.test/", headers)).status).toBe(400)
    await get("spared.test/")
    expect(site.asked("spared.test/")).toBe(hits)
  })

  test("refuses what it cannot do as asked", async () => {
    const both = { "xkey-purge": "a", "xkey-softpurge": "b" }
    expect((await ask(varnish, "PURGE", "any.test/", both)).status).toBe(400)
    const keys = await ask(varnish, "BAN", "any.test/", { "xkey-purge": "a" })
    expect([keys.status, keys.headers["allow"]]).toEqual([405, "PURGE"])
    const ban = await ask(varnish, "PURGE", "any.test/", { "x-tidemark-ban": "everything" })
    expect([ban.status, ban.headers["allow"]]).toEqual([405, "BAN"])
  })

  test("refuses strangers", async () => {
    site.keys.set("strange.test/", "strange")
    await get("strange.test/")
    const headers = { "xkey-purge": "strange", "x-tidemark-ban": "everything" }
    // Loopback too, but not one of the addresses in the list.
    for (const method of ["PURGE", "BAN"]) {
      const answer = await ask(varnish, method, "strange.test/", headers, "127.0.0.2")
      expect([answer.status, answer.purged]).toEqual([403, "-"])
    }
    expect((await ask(varnish, "GET", "strange.test/", {}, "127.0.0.2")).body).toBe("strange.test/ 1")
  })

  test("bans everything", async () => {
    const urls = ["all-a.test/", "all-b.test/x"]
    for (const url of urls) await get(url)
    const answer = await ask(varnish, "BAN", "any.test/", { "x-tidemark-ban": "everything" })
    expect([answer.status, answer.purged]).toEqual([200, "-"])
    expect(await Promise.all(urls.map(get))).toEqual(["all-a.test/ 2", "all-b.test/x 2"])
  })

  test("lets a site's own VCL follow ours", async () => {
    const vcl = `vcl 4.1;\nimport std;\ninclude "tidemark.vcl";\nsub vcl_deliver { set resp.http.x-own = "yes"; }\n`
    const own = await startVarnish({ backend: { host: "127.0.0.1", port: site.port() }, vcl })
    onTestFinished(() => own.stop())
    expect((await ask(own, "GET", "own.test/")).headers["x-own"]).toBe("yes")
    expect((await ask(own, "PURGE", "own.test/")).purged).toBe("1")
  })

  test("says why it did not start", async () => {
    const backend = { host: "127.0.0.1", port: site.port() }
    await expect(startVarnish({ backend, vcl: "sub vcl_recv { nonsense; }" })).rejects.toThrow(/nonsense/)
    await expect(startVarnish({ backend, port: varnish.port })).rejects.toThrow(
      `port ${varnish.port} is taken: set TIDEMARK_VARNISH_PORT to another, or to 0`,
    )
    await expect(startVarnish({ backend: { host: 'a"b', port: 1 } })).rejects.toThrow(TypeError)
  })

  /** For a page that was fetched once and is now marked stale. */
  async function expectRevalidation(url: string): Promise<void> {
    const release = site.hold(url)
    expect(await get(url)).toBe(`${url} 1`)
    await expect.poll(() => site.asked(url)).toBe(2)
    expect(await get(url)).toBe(`${url} 1`)
    release()
    await expect.poll(() => get(url)).toBe(`${url} 2`)
    expect(site.asked(url)).toBe(2)
  }
})

interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
  /** Its `x-tidemark-purged`. */
  readonly purged: string | undefined
}

/** `url` is host and path, without a scheme: the request goes to `server`, from `localAddress`. */
async function ask(
  server: RunningServer,
  method: string,
  url: string,
  headers: Record<string, string | string[]> = {},
  localAddress = "127.0.0.1",
): Promise<Answer> {
  const slash = url.indexOf("/")
  const host = url.slice(0, slash)
  const target = { host: "127.0.0.1", port: server.port, method, path: url.slice(slash), localAddress }
  const asked = request({ ...target, headers: { host, ...headers }, agent: false })
  asked.end()
  const [response] = await once(asked, "response")
  let body = ""
  for await (const chunk of response) body += chunk
  return {
    status: response.statusCode,
    headers: response.headers,
    body,
    purged: response.headers["x-tidemark-purged"],
  }
}

/** A site whose pages say how often they were made: `<host><path> <count>`. */
function fakeSite() {
  const counts = new Map<string, number>()
  const held = new Map<string, Promise<void>>()
  const keys = new Map<string, string>()
  let lastHeaders: IncomingHttpHeaders = {}
  const answer = async (incoming: IncomingMessage, response: ServerResponse) => {
    const url = `${incoming.headers.host}${incoming.url}`
    const count = (counts.get(url) ?? 0) + 1
    counts.set(url, count)
    lastHeaders = incoming.headers
    await held.get(url)
    // No grace asked for, so that what is served while stale is our VCL's doing.
    const cacheable = "s-maxage=3600, stale-while-revalidate=0"
    response.setHeader("cache-control", incoming.url === "/private" ? "private" : cacheable)
    if (incoming.url === "/vary") response.setHeader("vary", "accept-language")
    const labels = keys.get(url)
    if (labels !== undefined) response.setHeader("xkey", labels)
    response.end(`${url} ${count}`)
  }
  const server = createServer((incoming, response) => void answer(incoming, response))
  const port = () => {
    const address = server.address()
    return typeof address === "object" && address ? address.port : 0
  }
  return {
    /** Value of the `xkey` header, by host and path. */
    keys,
    port,
    asked: (url: string) => counts.get(url) ?? 0,
    get lastHeaders() {
      return lastHeaders
    },
    /** Lets no answer for this page through until the function it returns is called. */
    hold(url: string): () => void {
      const { promise, resolve } = Promise.withResolvers<void>()
      held.set(url, promise)
      return resolve
    },
    async listen(): Promise<number> {
      server.listen(0, "127.0.0.1")
      await once(server, "listening")
      return port()
    },
    async close(): Promise<void> {
      server.close()
      server.closeAllConnections()
      await once(server, "close")
    },
  }
}

/** One command of Redis, and the answer as it came, without the last line break. */
async function command(server: Pick<RunningServer, "port">, ...words: string[]): Promise<string> {
  const socket = connect(server.port, "127.0.0.1")
  socket.end(
    `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`,
  )
  let answer = ""
  for await (const chunk of socket) answer += chunk
  return answer.replace(/\r\n$/, "")
}

/** A PATH whose apt knows a redis-server in two packages, and cannot reach one of its sources. */
async function fakeApt(version = "7.2.5"): Promise<string> {
  const path = await temporaryDirectory()
  await script(join(path, "apt-get"), 'case "$*" in *update) exit 100 ;; esac\n: > redis-server.deb')
  const stanzas = ["redis-server", "redis-tools"].map(fakePackage).join("\n")
  await script(join(path, "apt-cache"), `cat <<'END'\n${stanzas}\nEND`)
  const binary = `printf '#!/bin/sh\\necho Redis server v=${version} sha=0\\n' > "$3/usr/bin/redis-server"`
  await script(join(path, "dpkg"), `mkdir -p "$3/usr/bin"\n${binary}\nchmod 755 "$3/usr/bin/redis-server"`)
  for (const tool of ["cat", "mkdir", "chmod"]) await symlink(`/bin/${tool}`, join(path, tool))
  return path
}

function fakePackage(name: string): string {
  return `Package: ${name}\nArchitecture: amd64\nSize: 750000\nDepends: libc6 (>= 2)\n`
}

async function script(file: string, text: string): Promise<void> {
  await writeFile(file, `#!/bin/sh\n${text}\n`)
  await chmod(file, 0o755)
}

async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "tidemark-test-"))
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  return directory
}
