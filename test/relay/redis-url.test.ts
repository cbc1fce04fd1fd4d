// What stands in REDIS_URL: what works in relay and gateway alike, and what ends both by a sentence.
import { spawn } from "node:child_process"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { createServer, type Server } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { expect, it, onTestFinished } from "vitest"
import { startRedis } from "../../cli/servers/redis.ts"
import { type GatewayOptions, startGateway } from "../../relay-node/gateway/gateway.ts"
import { selfSigned } from "../support/certificate.ts"
import { redisCommand } from "../support/redis-command.ts"
import { startRelayProcess, tokenConfig, TOKENS } from "../support/relay-process.ts"
import { startSentinel } from "../support/sentinel.ts"
import { poll } from "./stage.ts"

const LAUNCHER = fileURLToPath(new URL("../../cli/tidemark.js", import.meta.url))
const TOKEN = "a-token-that-is-long-enough-for-any-address"

async function newRelay(redisUrl: string, env: Readonly<Record<string, string>> = {}) {
  const config = {
    tokens: await tokenConfig(),
    namespaces: { blog: {} },
    targets: { out: { type: "print", namespaces: ["*"] } },
  }
  const relay = await startRelayProcess({ redisUrl, config, env })
  onTestFinished(() => relay[Symbol.asyncDispose]())
  return relay
}

/** `tidemark gateway`, or another part, until it ends. */
async function partEnd(
  part: "gateway" | "dev",
  redisUrl: string,
  env: Readonly<Record<string, string>> = {},
) {
  const child = spawn(process.execPath, [LAUNCHER, part], {
    cwd: await newDirectory(),
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      PATH: process.env["PATH"],
      UPSTASH_REDIS_REST_TOKEN: TOKEN,
      TIDEMARK_GATEWAY_PORT: "0",
      REDIS_URL: redisUrl,
      ...env,
    },
  })
  onTestFinished(() => void child.kill("SIGKILL"))
  let [stdout, stderr] = ["", ""]
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text))
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text))
  const code = await new Promise<number | null>((ended) => child.once("close", ended))
  return { code, stdout, stderr }
}

async function gatewayPing(redisUrl: string, options: Partial<GatewayOptions> = {}) {
  const gateway = await startGateway({ redisUrl, token: TOKEN, port: 0, ...options })
  try {
    const answer = await fetch(`${gateway.url}/ping`, { headers: { authorization: `Bearer ${TOKEN}` } })
    return [answer.status, await answer.json()]
  } finally {
    await gateway.close()
  }
}

const PONG = [200, { result: "PONG" }]

/** Where neither ever says that it is ready, and both say why. */
async function bothEnd(redisUrl: string, sentence: string, env: Readonly<Record<string, string>> = {}) {
  const relay = await newRelay(redisUrl, env)
  expect([await relay.exited, relay.stdout()]).toEqual([2, ""])
  const said = (stderr: string) => stderr.split("\n").filter((line) => line.startsWith("tidemark "))
  expect(said(relay.stderr())).toEqual([expect.stringContaining(sentence)])
  const gateway = await partEnd("gateway", redisUrl, env)
  expect([gateway.code, gateway.stdout]).toEqual([2, ""])
  expect(said(gateway.stderr)).toEqual([expect.stringContaining(sentence)])
  expect(relay.stderr() + gateway.stderr).not.toMatch(/s3cret|\n\s+at /)
}

async function newDirectory() {
  const directory = await mkdtemp(join(tmpdir(), "tidemark-url-"))
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  return directory
}

async function newRedis(...args: string[]) {
  const redis = await startRedis({ args })
  onTestFinished(() => redis.stop())
  return redis
}

it.each([
  ["", "REDIS_URL is not set"],
  ["redis://:s3cret@pw@127.0.0.1", "percent-encode"],
  ["redis://:s3cret%@127.0.0.1", "percent-encode"],
  ["redis://127.0.0.1/prod-s3cret", "REDIS_URL names a database that is none"],
  ["valkey://s3cret", "REDIS_URL has a scheme that is not known here: write redis://"],
  ["redis://s3cret\n", "REDIS_URL begins or ends with white space"],
])("ends relay and gateway by exit 2: %j", async (redisUrl, sentence) => {
  await bothEnd(redisUrl, sentence)
})

it("ends `tidemark dev` by exit 2 too, before anything was started", async () => {
  const { code, stdout, stderr } = await partEnd("dev", "redis://u:s3cr/et@127.0.0.1")
  expect([code, stdout]).toEqual([2, ""])
  expect(stderr).toContain("REDIS_URL has")
  expect(stderr).not.toMatch(/s3cr|\n\s+at /)
})

it("ends both where files for TLS are missing, are none, or come to nothing", async () => {
  const directory = await newDirectory()
  const { cert, key } = selfSigned("localhost")
  const file = async (name: string, text: string) => {
    await writeFile(join(directory, name), text)
    return join(directory, name)
  }
  const [certFile, keyFile, none] = [
    await file("cert", cert),
    await file("key", key),
    await file("none", "s3cret"),
  ]
  const other = await file("other", selfSigned("localhost").key)
  const tls = "rediss://localhost"
  await bothEnd(tls, "REDIS_CA_FILE names a file that cannot be read (ENOENT)", { REDIS_CA_FILE: "/s3cret" })
  await bothEnd(tls, "REDIS_CA_FILE holds no certificates in PEM", { REDIS_CA_FILE: none })
  await bothEnd(tls, "REDIS_CERT_FILE holds no certificates in PEM", {
    REDIS_CERT_FILE: keyFile,
    REDIS_KEY_FILE: keyFile,
  })
  await bothEnd(tls, "REDIS_KEY_FILE holds no private key in PEM", {
    REDIS_CERT_FILE: certFile,
    REDIS_KEY_FILE: certFile,
  })
  await bothEnd(tls, "REDIS_KEY_FILE is not set", { REDIS_CERT_FILE: certFile })
  await bothEnd(tls, "REDIS_CERT_FILE is not set", { REDIS_KEY_FILE: keyFile })
  await bothEnd(tls, "REDIS_KEY_FILE is not the key of", { REDIS_CERT_FILE: certFile, REDIS_KEY_FILE: other })
  await bothEnd("redis://localhost", "REDIS_CA_FILE is for TLS only", { REDIS_CA_FILE: certFile })
})

it("ends both at a sentinel, also with a database, and at a Redis that is too old", async () => {
  const redis = await newRedis()
  const sentinel = await startSentinel(redis.port)
  onTestFinished(() => sentinel.stop())
  await bothEnd(sentinel.url, "REDIS_URL names a sentinel")
  await bothEnd(`${sentinel.url}/2`, "REDIS_URL names a sentinel")
  // A stand-in that says what 6.2 says, as none is to be had.
  const old: Server = createServer((socket) => {
    const info = "# Server\r\nredis_version:6.2.16\r\nredis_mode:standalone\r\n"
    socket.on("error", () => socket.destroy())
    socket.on("data", (chunk) => {
      if (/info/i.test(String(chunk))) socket.write(`$${info.length}\r\n${info}\r\n`)
      else socket.write("-ERR unknown command\r\n")
    })
  })
  await new Promise<void>((listening) => old.listen(0, "127.0.0.1", listening))
  onTestFinished(() => void old.close())
  const { port } = old.address() as { port: number }
  await bothEnd(`redis://127.0.0.1:${port}`, "REDIS_URL names a Redis 6.2, on which not every promise holds")
})

it("works over a Unix socket, in its own database", async () => {
  const path = join(await newDirectory(), "redis.sock")
  const redis = await newRedis("--unixsocket", path)
  const url = `unix://${path}?db=2`
  expect(await gatewayPing(url)).toEqual(PONG)
  await (
    await newRelay(url)
  ).ready
  expect(await redisCommand(`${redis.url}/2`, "EXISTS", "tm:relays")).toBe("1")
  expect(await redisCommand(redis.url, "DBSIZE")).toBe("0")
})

it("works with a user and a password of any characters", async () => {
  const redis = await newRedis()
  const password = "p@w:/?#% é"
  await redisCommand(redis.url, "ACL", "SETUSER", "u:ser", "on", `>${password}`, "~*", "&*", "+@all")
  const url = redis.url.replace("//", `//${encodeURIComponent("u:ser")}:${encodeURIComponent(password)}@`)
  expect(await gatewayPing(url)).toEqual(PONG)
  await (
    await newRelay(url)
  ).ready
})

it("says what is wrong with it, and comes right by itself", async () => {
  const redis = await newRedis()
  const url = redis.url.replace("//", "//someone:s3cret@")
  const [relay, beyond] = [await newRelay(url), await newRelay(`${redis.url}/99`)]
  const storeOf = async (one: typeof relay) => (await one.json("/readyz", null)).unready?.store
  await poll(() => storeOf(relay)).toBe("Redis refuses us: mend the user and the password in REDIS_URL")
  await poll(() => storeOf(beyond)).toMatch(/^Redis has no database of that number: .*REDIS_URL/)
  expect(beyond.log("redis:lost")).toMatchObject([
    { detail: expect.stringMatching(/^Redis has no database/) },
  ])
  expect(await gatewayPing(url)).toEqual([
    503,
    { error: expect.stringMatching(/^WRONGPASS Redis refuses us: .*REDIS_URL$/) },
  ])
  const asked = await (await relay.get("/v1/relays", TOKENS.operator)).json()
  expect(asked).toMatchObject({
    status: 503,
    detail: "Redis refuses us: mend the user and the password in REDIS_URL.",
  })
  // A right that is missing is told by the poll that met it.
  await redisCommand(redis.url, "ACL", "SETUSER", "someone", "on", ">s3cret", "~*", "&*", "+@all", "-evalsha")
  await poll(() => storeOf(relay)).toBe("Redis gives too few rights: mend those of the user in REDIS_URL")
  await redisCommand(redis.url, "ACL", "SETUSER", "someone", "+@all")
  await relay.ready
  expect(relay.stderr() + beyond.stderr()).not.toContain("s3cret")
})

it("is not ready at a replica, whose gateway goes on looking up", async () => {
  const redis = await newRedis("--replicaof", "127.0.0.1", "1")
  expect(await gatewayPing(redis.url)).toEqual(PONG)
  const relay = await newRelay(redis.url)
  await poll(async () => (await relay.json("/readyz", null)).unready).toMatchObject({
    store: "Redis is a read-only replica: REDIS_URL has to name the primary",
  })
})

it("is not ready at a node of a cluster, nor where such a one is asked for a database", async () => {
  const redis = await newRedis("--cluster-enabled", "yes")
  const [relay, other] = [await newRelay(redis.url), await newRelay(`${redis.url}/1`)]
  const storeOf = async (one: typeof relay) => (await one.json("/readyz", null)).unready?.store
  await poll(() => storeOf(relay)).toBe(
    "Redis is a cluster node without its cluster: REDIS_URL has to name a Redis that is no cluster",
  )
  await poll(() => storeOf(other)).toMatch(
    /^Redis is a node of a cluster, which has database 0 only: .*REDIS_URL$/,
  )
  // Where every slot is at that one node, nothing is missing.
  await redisCommand(redis.url, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
  await relay.ready
})

it("works over TLS with an authority and a certificate of one's own", async () => {
  const directory = await newDirectory()
  const [server, client, stranger] = [selfSigned("localhost"), selfSigned("client"), selfSigned("localhost")]
  const files: Record<string, string> = {}
  for (const [name, text] of Object.entries({
    server: server.cert,
    serverKey: server.key,
    client: client.cert,
    clientKey: client.key,
    stranger: stranger.cert,
  })) {
    files[name] = join(directory, name)
    await writeFile(files[name], text)
  }
  const port = await freePort()
  const ofServer = ["--tls-cert-file", files["server"]!, "--tls-key-file", files["serverKey"]!]
  const ofClients = ["--tls-ca-cert-file", files["client"]!, "--tls-auth-clients", "yes"]
  await newRedis("--tls-port", String(port), ...ofServer, ...ofClients)
  const url = `rediss://localhost:${port}`
  const own = { ca: server.cert, cert: client.cert, key: client.key }
  expect(await gatewayPing(url, { redisTls: own })).toEqual(PONG)
  const env = {
    REDIS_CA_FILE: files["server"]!,
    REDIS_CERT_FILE: files["client"]!,
    REDIS_KEY_FILE: files["clientKey"]!,
  }
  await (
    await newRelay(url, env)
  ).ready
  const lost = async (tls: GatewayOptions["redisTls"]) => gatewayPing(url, { redisTls: tls ?? {} })
  expect(await lost({})).toEqual([503, { error: expect.stringContaining("name its file in REDIS_CA_FILE") }])
  expect(await lost({ ...own, ca: stranger.cert })).toEqual([
    503,
    { error: expect.stringContaining("REDIS_CA_FILE") },
  ])
  const bare = await newRelay(url, { REDIS_CA_FILE: files["server"]! })
  await poll(async () => (await bare.json("/readyz", null)).unready).toMatchObject({
    store: "Redis does not take our certificate: mend REDIS_CERT_FILE and REDIS_KEY_FILE",
  })
  // Each attempt stands for a moment: that is not told each time.
  expect(bare.log("redis:connected").length).toBeLessThanOrEqual(1)
  // The certificate is for a name, and is asked for by it.
  expect(await gatewayPing(url.replace("localhost", "127.0.0.1"), { redisTls: own })).toEqual([
    503,
    { error: "ERR Redis has a certificate for another name than the one in REDIS_URL" },
  ])
})

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening))
  const { port } = server.address() as { port: number }
  await new Promise((closed) => server.close(closed))
  return port
}
