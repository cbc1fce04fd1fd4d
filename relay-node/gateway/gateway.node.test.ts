import { once } from "node:events"
import { type IncomingMessage, request as httpRequest } from "node:http"
import { connect, createServer, type Server, type Socket } from "node:net"
import { Redis } from "@upstash/redis"
import { createClient } from "redis"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest"
import { startRedis } from "../../cli/servers/redis.ts"
import { type Gateway, type GatewayOptions, type GatewayRequest, startGateway } from "./gateway.ts"

const TOKEN = "a-token-that-is-long-enough-for-any-address"

// A slow machine may have to fetch a Redis first; nothing here is about how long anything takes.
vi.setConfig({ testTimeout: 30_000, hookTimeout: 120_000 })

let redis: Awaited<ReturnType<typeof startRedis>>
let admin: ReturnType<typeof createClient>
/** With every command, as most of what is tested here is the protocol. */
let gateway: Gateway
/** As it runs in production. */
let narrow: Gateway
const started: Gateway[] = []
const links: { cut(): Promise<void> }[] = []

beforeAll(async () => {
  redis = await startRedis()
  admin = createClient({ url: redis.url, RESP: 2 })
  admin.on("error", () => {})
  await admin.connect()
  gateway = await startGateway({ redisUrl: redis.url, token: TOKEN, port: 0, allCommands: true })
  narrow = await startGateway({ redisUrl: redis.url, token: TOKEN, port: 0 })
})

afterAll(async () => {
  await Promise.all([gateway.close(), narrow.close()])
  admin.destroy()
  await redis.stop()
})

beforeEach(async () => void (await admin.flushAll()))

afterEach(async () => {
  await Promise.all(started.splice(0).map((one) => one.close()))
  await Promise.all(links.splice(0).map((link) => link.cut()))
  // Whatever a test opened is gone: what is left are the two gateways' connections, and the one that asks.
  await poll(connections).toBe(3)
})

/** As long as a slow machine needs; what is waited for has usually happened. */
const poll = <T>(read: () => T) => expect.poll(read, { timeout: 10_000 })

const startWith = (options: Partial<GatewayOptions>) =>
  startGateway({ redisUrl: redis.url, token: TOKEN, port: 0, ...options })

/** One that ends with its test. */
async function start(options: Partial<GatewayOptions> = {}): Promise<Gateway> {
  const one = await startWith({ allCommands: true, ...options })
  started.push(one)
  return one
}

const upstashClient = (at: Gateway = gateway) =>
  new Redis({ url: at.url, token: TOKEN, enableTelemetry: false })

interface AskOptions {
  readonly headers?: Record<string, string>
  readonly method?: string
  readonly at?: Gateway
}

/** What came back: the status, and the body as JSON. */
async function ask(path: string, body?: unknown, { headers = {}, method, at = gateway }: AskOptions = {}) {
  const response = await fetch(at.url + path, {
    method: method ?? (body === undefined ? "GET" : "POST"),
    headers: { authorization: `Bearer ${TOKEN}`, ...headers },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  })
  return [response.status, await response.json()] as [number, any]
}

const command = (...args: unknown[]) => ask("/", args)
const base64 = { headers: { "upstash-encoding": "base64" } }
const b64 = (text: string) => Buffer.from(text).toString("base64")

/** Posts JSON with the token, for tests that look at more than JSON. */
const post = (path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(gateway.url + path, {
    method: "POST",
    headers: { authorization: `Bearer ${TOKEN}`, ...headers },
    body: JSON.stringify(body),
  })

async function resp2(path: string, body: unknown) {
  const response = await post(path, body, { "upstash-response-format": "resp2" })
  return [response.status, response.headers.get("content-type"), await response.text()]
}

const syncToken = async (...args: string[]) => (await post("/", args)).headers.get("upstash-sync-token")

const refused = (name: string) => ({ error: `ERR command '${name}' is not allowed by this gateway` })

/** A request as it is, for what `fetch` does not let through. */
async function raw(at: Gateway, path: string, headers: Record<string, string>, method = "GET") {
  const outgoing = httpRequest({
    host: "127.0.0.1",
    port: at.port,
    path,
    method,
    headers,
    agent: false,
  }).end()
  const [incoming]: IncomingMessage[] = await once(outgoing, "response")
  let body = ""
  for await (const chunk of incoming!) body += String(chunk)
  return { status: incoming!.statusCode, headers: incoming!.headers, body }
}

/** A stream of events, read one by one; undefined at its end. */
async function listen(path: string, { at = gateway, method = "GET" }: AskOptions = {}) {
  const aborter = new AbortController()
  const response = await fetch(at.url + path, {
    method,
    headers: { authorization: `Bearer ${TOKEN}` },
    signal: aborter.signal,
    ...(method === "POST" ? { body: "[]" } : {}),
  })
  expect(response.status).toBe(200)
  expect(response.headers.get("content-type")).toBe("text/event-stream")
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  let text = ""
  const next = async (): Promise<string | undefined> => {
    for (;;) {
      const end = text.indexOf("\n\n")
      if (end >= 0) {
        const event = text.slice(0, end)
        text = text.slice(end + 2)
        return event
      }
      const { done, value } = await reader.read()
      if (done) return undefined
      text += value
    }
  }
  return { next, abort: () => aborter.abort() }
}

const subscribers = async (): Promise<number> => {
  const list = await admin.sendCommand<string>(["CLIENT", "LIST", "TYPE", "PUBSUB"])
  return list.split("\n").filter((line) => line !== "").length
}

const connections = async (): Promise<number> => {
  const list = await admin.sendCommand<string>(["CLIENT", "LIST"])
  return list.split("\n").filter((line) => line !== "").length
}

function boundPort(server: Server): number {
  const address = server.address()
  return typeof address === "object" && address ? address.port : 0
}

/** A link to Redis that can be cut, and made to go silent without closing. */
async function createLink() {
  const target = new URL(redis.url)
  const sockets = new Set<Socket>()
  let isSilent = false
  const accept = (near: Socket) => {
    const far = connect(Number(target.port), target.hostname)
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from)
      from.on("data", (data) => void (isSilent || to.write(data)))
      from.on("close", () => to.destroy())
      from.on("error", () => to.destroy())
    }
  }
  let server = createServer(accept).listen(0, "127.0.0.1")
  await once(server, "listening")
  const port = boundPort(server)
  const link = {
    url: `redis://127.0.0.1:${port}`,
    openSockets: () => sockets.size,
    setSilent(value: boolean) {
      isSilent = value
    },
    async cut() {
      const closed = server.listening && once(server, "close")
      server.close()
      for (const socket of sockets) socket.destroy()
      sockets.clear()
      await closed
    },
    async mend() {
      server = createServer(accept).listen(port, "127.0.0.1")
      await once(server, "listening")
    },
  }
  links.push(link)
  return link
}

describe("routes", () => {
  it("takes a command as a JSON array, and makes strings of numbers and booleans", async () => {
    expect(await command("SET", "a", 1)).toEqual([200, { result: "OK" }])
    expect(await command("get", "a")).toEqual([200, { result: "1" }])
    await command("RPUSH", "list", true, 1.5, "x")
    expect(await command("LRANGE", "list", 0, -1)).toEqual([200, { result: ["true", "1.5", "x"] }])
  })

  it("takes a command as a path", async () => {
    expect(await ask("/set/a%2Fb/caf%C3%A9")).toEqual([200, { result: "OK" }])
    expect(await ask("/GET/a%2Fb")).toEqual([200, { result: "café" }])
    expect(await admin.get("a/b")).toBe("café")
  })

  it("appends a body, then the query, to a path", async () => {
    expect(await ask("/set/a?EX=100", "a value / ?")).toEqual([200, { result: "OK" }])
    expect(await admin.get("a")).toBe("a value / ?")
    expect(await admin.ttl("a")).toBeGreaterThan(0)
    expect(await ask("/set/a?NX", "other", { method: "PUT" })).toEqual([200, { result: null }])
  })

  it("keeps every byte of a body and of a path", async () => {
    const bytes = Buffer.from([0, 255, 13, 10, 128])
    const authorization = `Bearer ${TOKEN}`
    await fetch(`${gateway.url}/set/a%FF`, { method: "POST", body: bytes, headers: { authorization } })
    expect(await ask("/get/a%FF", undefined, base64)).toEqual([200, { result: bytes.toString("base64") }])
  })

  it("answers HEAD without a body", async () => {
    const { status, body } = await raw(gateway, "/get/a", { authorization: `Bearer ${TOKEN}` }, "HEAD")
    expect([status, body]).toEqual([200, ""])
  })

  it("runs a pipeline to its end, with an error in its place", async () => {
    const rows = [["SET", "a", "x"], ["INCR", "a"], ["NOPE"], ["GET", "none"], ["GET", "a"]]
    expect(await ask("/pipeline", rows)).toEqual([
      200,
      [
        { result: "OK" },
        { error: "ERR value is not an integer or out of range" },
        { error: expect.stringMatching(/^ERR unknown command 'NOPE'/) },
        { result: null },
        { result: "x" },
      ],
    ])
  })

  it("runs a transaction, with an error inside in its place", async () => {
    const rows = [
      ["SET", "a", "x"],
      ["INCR", "a"],
      ["GET", "a"],
    ]
    expect(await ask("/multi-exec", rows)).toEqual([
      200,
      [{ result: "OK" }, { error: "ERR value is not an integer or out of range" }, { result: "x" }],
    ])
  })

  it("says why a transaction was discarded, and has run none of it", async () => {
    expect(await ask("/multi-exec", [["SET", "a", "x"], ["GET"]])).toEqual([
      400,
      {
        error: "EXECABORT Transaction discarded because of: ERR wrong number of arguments for 'get' command",
      },
    ])
    expect(await admin.exists("a")).toBe(0)
    expect(await command("PING")).toEqual([200, { result: "PONG" }])
  })

  it("lets nothing come between the commands of a transaction", async () => {
    const transactions = Array.from({ length: 50 }, () =>
      ask("/multi-exec", [
        ["INCR", "n"],
        ["INCR", "n"],
      ]),
    )
    const singles = Array.from({ length: 50 }, () => command("INCR", "n"))
    for (const [, [first, second]] of await Promise.all(transactions)) {
      expect(second.result).toBe(first.result + 1)
    }
    await Promise.all(singles)
    expect(await admin.get("n")).toBe("150")
  })

  it("refuses what is no command, without quoting it", async () => {
    for (const [body, error] of [
      ["not json", "ERR failed to parse the request: not valid JSON"],
      ['{"a": 1}', "ERR failed to parse the request: a command is not an array"],
      ["[]", "ERR empty command"],
      ['["GET", null]', "ERR null args are not supported"],
      [
        '["GET", ["a"]]',
        "ERR failed to parse the request: an argument is neither string, number nor boolean",
      ],
    ]) {
      expect(await ask("/", body)).toEqual([400, { error }])
    }
    expect(await ask("/pipeline", '["GET", "a"]')).toEqual([
      400,
      { error: "ERR failed to parse the request: a command is not an array" },
    ])
    expect(await ask("/")).toEqual([400, { error: "ERR empty command" }])
  })

  it("refuses other methods", async () => {
    for (const [method, path] of [
      ["DELETE", "/"],
      ["OPTIONS", "/get/a"],
      ["GET", "/pipeline"],
      ["GET", "/multi-exec"],
      ["HEAD", "/subscribe/a"],
    ] as const) {
      const { status, headers } = await raw(gateway, path, { authorization: `Bearer ${TOKEN}` }, method)
      expect([method, status]).toEqual([method, 405])
      expect(headers.allow).toBeDefined()
    }
  })

  it("refuses a body above 10 MB, declared or not", async () => {
    const big = Buffer.alloc(10 * 1024 * 1024 + 1, "x")
    const headers = { authorization: `Bearer ${TOKEN}` }
    const declared = await raw(
      gateway,
      "/set/a",
      { ...headers, "content-length": String(big.length) },
      "POST",
    )
    expect(declared.status).toBe(413)
    const outgoing = httpRequest(`${gateway.url}/set/a`, { method: "POST", headers, agent: false })
    // The answer may come, and the connection go, while this is still writing.
    outgoing.on("error", () => {})
    outgoing.write(big)
    const [incoming] = await once(outgoing, "response")
    expect(incoming.statusCode).toBe(413)
    outgoing.destroy()
  })

  it("answers 100 requests at once, each with its own reply", async () => {
    const answers = await Promise.all(Array.from({ length: 100 }, (_, index) => command("ECHO", index)))
    expect(answers).toEqual(Array.from({ length: 100 }, (_, index) => [200, { result: String(index) }]))
  })
})

describe("replies", () => {
  it("have the shapes of RESP2", async () => {
    await admin.hSet("h", { f: "1", g: "2" })
    await admin.zAdd("z", [
      { score: 1, value: "a" },
      { score: 2.5, value: "b" },
    ])
    await admin.xAdd("x", "1-0", { f: "v", g: "w" })
    expect(await command("HGETALL", "h")).toEqual([200, { result: ["f", "1", "g", "2"] }])
    expect(await command("ZRANGE", "z", 0, -1, "WITHSCORES")).toEqual([
      200,
      { result: ["a", "1", "b", "2.5"] },
    ])
    expect(await command("XRANGE", "x", "-", "+")).toEqual([200, { result: [["1-0", ["f", "v", "g", "w"]]] }])
    expect(await command("ZMSCORE", "z", "b", "none")).toEqual([200, { result: ["2.5", null] }])
    expect(await command("MGET", "none", "nor")).toEqual([200, { result: [null, null] }])
    expect(await command("LPOP", "none", 1)).toEqual([200, { result: null }])
  })

  it("keep every digit of an integer", async () => {
    await admin.set("n", "9223372036854775806")
    const response = await fetch(`${gateway.url}/incr/n?_token=${TOKEN}`)
    expect(await response.text()).toBe('{"result":9223372036854775807}')
  })

  it("carry Redis's own words when it refuses", async () => {
    await admin.lPush("list", "x")
    // Asked of Redis itself, as they differ: Valkey's NOSCRIPT gives no advice.
    const ownWords = (asked: Promise<unknown>) =>
      asked.then(
        () => "",
        (error: Error) => error.message,
      )
    const wrongType = await ownWords(admin.get("list"))
    expect(wrongType).toMatch(/^WRONGTYPE ./)
    expect(await command("GET", "list")).toEqual([400, { error: wrongType }])
    const unknown = "0".repeat(40)
    const noScript = await ownWords(admin.evalSha(unknown))
    expect(noScript).toMatch(/^NOSCRIPT ./)
    expect(await command("EVALSHA", unknown, 0)).toEqual([400, { error: noScript }])
  })

  it("are encoded in base64 at every depth, but for a bare OK, numbers and null", async () => {
    await admin.set("ok", "OK")
    const script = "return {'OK', {'é', {'OK', 1, false}}, redis.status_reply('OK')}"
    expect(await ask("/", ["EVAL", script, 0], base64)).toEqual([
      200,
      { result: [b64("OK"), [b64("é"), [b64("OK"), 1, null]], b64("OK")] },
    ])
    expect(await ask("/", ["SET", "a", "b"], base64)).toEqual([200, { result: "OK" }])
    expect(await ask("/", ["PING"], base64)).toEqual([200, { result: b64("PONG") }])
    expect(await ask("/", ["GET", "none"], base64)).toEqual([200, { result: null }])
    expect(await ask("/", ["STRLEN", "a"], base64)).toEqual([200, { result: 1 }])
    expect(
      await ask(
        "/pipeline",
        [
          ["SET", "a", "b"],
          ["MGET", "ok", "a"],
          ["INCR", "a"],
        ],
        base64,
      ),
    ).toEqual([
      200,
      [
        { result: "OK" },
        { result: [b64("OK"), b64("b")] },
        { error: "ERR value is not an integer or out of range" },
      ],
    ])
    expect(await ask("/multi-exec", [["MGET", "ok"]], base64)).toEqual([200, [{ result: [b64("OK")] }]])
  })

  it("keep every byte in base64, also from a transaction", async () => {
    const bytes = Buffer.from([0, 255, 13, 10, 128])
    await admin.set("bytes", bytes)
    const result = bytes.toString("base64")
    expect(await command("GET", "bytes")).toEqual([200, { result: "\0\ufffd\r\n\ufffd" }])
    expect(await ask("/", ["GET", "bytes"], base64)).toEqual([200, { result }])
    expect(await ask("/multi-exec", [["GET", "bytes"]], base64)).toEqual([200, [{ result }]])
  })

  it("come as RESP2 where that is asked for", async () => {
    const type = "application/octet-stream"
    expect(await resp2("/", ["SET", "a", "b"])).toEqual([200, type, "+OK\r\n"])
    expect(await resp2("/", ["MGET", "a", "none"])).toEqual([200, type, "*2\r\n$1\r\nb\r\n$-1\r\n"])
    expect(await resp2("/", ["INCR", "a"])).toEqual([
      400,
      type,
      "-ERR value is not an integer or out of range\r\n",
    ])
    expect(await resp2("/pipeline", [["STRLEN", "a"], ["PING"]])).toEqual([200, type, ":1\r\n+PONG\r\n"])
    expect((await resp2("/multi-exec", [["PING"]]))[0]).toBe(400)
    const both = { headers: { "upstash-response-format": "resp2", "upstash-encoding": "base64" } }
    expect((await ask("/", ["PING"], both))[0]).toBe(400)
    expect((await ask("/", ["PING"], { headers: { "upstash-response-format": "xml" } }))[0]).toBe(400)
  })

  it("carry a sync token that changes with every write, and only then", async () => {
    const first = await syncToken("SET", "a", "1")
    expect(first).toBeTruthy()
    expect(await syncToken("GET", "a")).toBe(first)
    const second = await syncToken("EVAL", "return 1", "0")
    expect(second).not.toBe(first)
    expect(await syncToken("SET", "a", "2")).not.toBe(second)
  })
})

describe("blocking commands", () => {
  it("hold up nobody, and end with their client", async () => {
    const aborter = new AbortController()
    const headers = { authorization: `Bearer ${TOKEN}` }
    const waiting = fetch(`${gateway.url}/blpop/queue/0`, { headers, signal: aborter.signal })
    const ended = expect(waiting).rejects.toThrow()
    await poll(connections).toBe(3 + 1)
    expect(await command("PING")).toEqual([200, { result: "PONG" }])
    const second = ask("/", ["BLPOP", "other", 0])
    await poll(connections).toBe(3 + 2)
    await admin.lPush("other", "x")
    expect(await second).toEqual([200, { result: ["other", "x"] }])
    aborter.abort()
    await ended
    await poll(connections).toBe(3)
  })

  it("have no place in a pipeline", async () => {
    expect(await ask("/pipeline", [["BLPOP", "queue", 0], ["PING"]])).toEqual([
      200,
      [{ error: "ERR command 'BLPOP' is not allowed by this gateway" }, { result: "PONG" }],
    ])
  })
})

describe("streams of events", () => {
  it("pass on a channel's messages, from the confirmation on", async () => {
    const stream = await listen("/subscribe/chat")
    expect(await stream.next()).toBe("data: subscribe,chat,1")
    await admin.publish("chat", "hello, you")
    await admin.publish("other", "not this")
    await admin.publish("chat", "two\nlines\r\nor three")
    expect(await stream.next()).toBe("data: message,chat,hello, you")
    expect(await stream.next()).toBe("data: message,chat,two\ndata: lines\ndata: or three")
    stream.abort()
  })

  it("pass on a pattern's messages, and take POST and several names", async () => {
    const stream = await listen("/psubscribe/tm:v1:*/x%2Fy%3F", { method: "POST" })
    expect(await stream.next()).toBe("data: psubscribe,tm:v1:*,1")
    expect(await stream.next()).toBe("data: psubscribe,x/y?,2")
    await admin.publish("tm:v1:blog", '{"v":1}')
    await admin.publish("x/yz", "é")
    expect(await stream.next()).toBe('data: pmessage,tm:v1:*,tm:v1:blog,{"v":1}')
    expect(await stream.next()).toBe("data: pmessage,x/y?,x/yz,é")
    stream.abort()
  })

  it("pass on what the whole server is asked, for tests", async () => {
    const stream = await listen("/monitor")
    expect(await stream.next()).toBe('data: "OK"')
    await admin.set("a", "b")
    await poll(() => stream.next()).toMatch(/^data: [\d.]+ \[0 127\.0\.0\.1:\d+\] "SET" "a" "b"$/)
    stream.abort()
  })

  it("close their connection to Redis when their client goes", async () => {
    const streams = await Promise.all([
      listen("/subscribe/a"),
      listen("/subscribe/b"),
      listen("/psubscribe/c"),
    ])
    await poll(subscribers).toBe(3)
    streams[0].abort()
    await poll(subscribers).toBe(2)
    for (const stream of streams) stream.abort()
    await poll(subscribers).toBe(0)
  })

  it("end when their connection to Redis is lost", async () => {
    const stream = await listen("/subscribe/chat")
    await stream.next()
    await admin.sendCommand(["CLIENT", "KILL", "TYPE", "PUBSUB"])
    expect(await stream.next()).toBeUndefined()
  })

  it("end when the gateway closes, which leaves nothing behind", async () => {
    const one = await start()
    const stream = await listen("/subscribe/chat", { at: one })
    await stream.next()
    // Some clients open one in advance; it must not be waited for.
    const unused = connect(one.port, "127.0.0.1")
    await once(unused, "connect")
    const ended = once(unused, "close")
    await Promise.all([one.close(), one.close()])
    expect(await stream.next()).toBeUndefined()
    await ended
    await poll(connections).toBe(3)
    await expect(fetch(one.url)).rejects.toThrow()
  })

  it("do not keep for a client that reads nothing more than a megabyte", async () => {
    const socket = connect(gateway.port, "127.0.0.1")
    socket.write(`GET /subscribe/flood?_token=${TOKEN} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
    await once(socket, "data")
    socket.pause()
    await poll(subscribers).toBe(1)
    const large = "x".repeat(500_000)
    // Past what the sockets between hold, too.
    await poll(async () => (await admin.publish("flood", large), await subscribers())).toBe(0)
    socket.destroy()
  })

  it("need a name, and a Redis that lets them", async () => {
    const error = "ERR wrong number of arguments for 'subscribe' command"
    expect(await ask("/subscribe")).toEqual([400, { error }])
    expect(await ask("/subscribe/")).toEqual([400, { error }])
    await admin.sendCommand("ACL SETUSER deaf on >secret ~* +@all -subscribe".split(" "))
    const url = new URL(redis.url)
    Object.assign(url, { username: "deaf", password: "secret" })
    const one = await start({ redisUrl: url.href })
    expect(await ask("/subscribe/a", undefined, { at: one })).toEqual([
      400,
      { error: expect.stringMatching(/^NOPERM/) },
    ])
    await poll(subscribers).toBe(0)
  })
})

describe("what is let through", () => {
  it("is what Tidemark sends, in upper or lower case", async () => {
    await admin.set("a", "1")
    expect(await ask("/", ["eval", "return redis.call('INCR', KEYS[1])", 1, "a"], { at: narrow })).toEqual([
      200,
      { result: 2 },
    ])
    expect(await ask("/MgEt/a", undefined, { at: narrow })).toEqual([200, { result: ["2"] }])
    const stream = await listen("/SUBSCRIBE/a", { at: narrow })
    expect(await stream.next()).toBe("data: subscribe,a,1")
    stream.abort()
  })

  it("is nothing else", async () => {
    for (const name of [
      "FLUSHALL",
      "PUBLISH",
      "SET",
      "CONFIG",
      "SUBSCRIBE",
      "MULTI",
      "SCRIPT",
      "KEYS",
      "DEL",
    ]) {
      expect(await ask("/", [name, "a", "b"], { at: narrow })).toEqual([400, refused(name)])
    }
    expect(await ask("/flushall", undefined, { at: narrow })).toEqual([400, refused("flushall")])
    expect(await ask("/monitor", undefined, { at: narrow })).toEqual([400, refused("MONITOR")])
    await admin.set("a", "1")
    expect(
      await ask(
        "/pipeline",
        [
          ["GET", "none"],
          ["DEL", "a"],
          ["GET", "a"],
        ],
        { at: narrow },
      ),
    ).toEqual([200, [{ result: null }, refused("DEL"), { result: "1" }]])
    expect(
      await ask(
        "/multi-exec",
        [
          ["GET", "a"],
          ["DEL", "a"],
        ],
        { at: narrow },
      ),
    ).toEqual([400, refused("DEL")])
    expect(await admin.get("a")).toBe("1")
  })

  it("is never what would change the connection that all share", async () => {
    for (const args of [
      ["SELECT", 1],
      ["SUBSCRIBE", "a"],
      ["MULTI"],
      ["HELLO", 3],
      ["CLIENT", "REPLY", "OFF"],
    ]) {
      expect(await command(...args)).toEqual([
        400,
        { error: expect.stringMatching(/^ERR command '.*' is not allowed/) },
      ])
    }
    expect(await command("PING")).toEqual([200, { result: "PONG" }])
  })

  it("is told by name to whoever counts, without arguments", async () => {
    const seen: GatewayRequest[] = []
    const one = await start({ allCommands: false, onRequest: (request) => seen.push(request) })
    await ask("/", ["get", "secret"], { at: one })
    await ask("/mget/secret", undefined, { at: one })
    await ask(
      "/pipeline",
      [
        ["MGET", "secret"],
        ["ZMSCORE", "secret", "m"],
        ["DEL", "secret"],
      ],
      { at: one },
    )
    await ask("/multi-exec", [["GET", "secret"]], { at: one })
    await ask("/", ["DEL", "secret"], { at: one })
    const stream = await listen("/subscribe/secret", { at: one })
    stream.abort()
    expect(seen).toEqual([
      { path: "/", commands: ["GET"] },
      { path: "/mget", commands: ["MGET"] },
      { path: "/pipeline", commands: ["MGET", "ZMSCORE"] },
      { path: "/multi-exec", commands: ["GET"] },
      { path: "/subscribe", commands: ["SUBSCRIBE"] },
    ])
  })
})

describe("who is let in", () => {
  const authorization = `Bearer ${TOKEN}`

  it("brings the token, in the header or the query", async () => {
    expect((await raw(gateway, "/ping", { authorization })).status).toBe(200)
    expect((await raw(gateway, `/echo/a?_token=${TOKEN}`, {})).body).toBe('{"result":"a"}')
    for (const headers of [
      {},
      { authorization: "Bearer wrong" },
      { authorization: TOKEN },
      { authorization: `Basic ${TOKEN}` },
    ]) {
      const { status, body } = await raw(gateway, "/ping", headers)
      expect([status, JSON.parse(body)]).toEqual([401, { error: "WRONGPASS invalid or missing auth token" }])
    }
    expect((await raw(gateway, `/ping?_token=${TOKEN}`, { authorization: "Bearer wrong" })).status).toBe(401)
    expect((await raw(gateway, "/subscribe/a", {})).status).toBe(401)
  })

  it("calls a loopback gateway by a name of this machine", async () => {
    for (const host of ["localhost", "127.0.0.1:1", "[::1]:8789", "LOCALHOST:80"]) {
      expect((await raw(gateway, "/ping", { authorization, host })).status).toBe(200)
    }
    for (const host of ["example.com", "127.0.0.1.example.com", "localhost.example.com:80", "10.0.0.1"]) {
      expect((await raw(gateway, "/ping", { authorization, host })).status).toBe(421)
    }
  })

  it("calls it by an allowed name, where names are listed", async () => {
    const one = await start({ allowedHosts: ["redis.example.com", "other.example.com:8443"] })
    for (const host of ["redis.example.com", "redis.example.com:1", "other.example.com:8443", "localhost"]) {
      expect((await raw(one, "/ping", { authorization, host })).status).toBe(200)
    }
    expect((await raw(one, "/ping", { authorization, host: "other.example.com" })).status).toBe(421)
  })

  it("calls it by any name where it is not on loopback and none are listed", async () => {
    const open = await start({ host: "0.0.0.0", allCommands: false })
    expect((await raw(open, "/ping", { authorization, host: "example.com" })).status).toBe(200)
    const listed = await start({ host: "0.0.0.0", allCommands: false, allowedHosts: ["a.example.com"] })
    expect((await raw(listed, "/ping", { authorization, host: "example.com" })).status).toBe(421)
    expect((await raw(listed, "/ping", { authorization, host: "a.example.com" })).status).toBe(200)
  })
})

describe("starting", () => {
  it("refuses a short token, and every command, on any address but loopback", async () => {
    const message = "token has fewer than 32 characters, which only a loopback host allows"
    await expect(startWith({ host: "0.0.0.0", token: "short" })).rejects.toThrow(message)
    await expect(startWith({ host: "::", allCommands: true })).rejects.toThrow("allCommands is for tests")
    await expect(startWith({ token: "" })).rejects.toThrow("token is empty")
    await start({ token: "short" })
  })

  it("names everything that is wrong at once, and no value", async () => {
    const wrong = startWith({ redisUrl: "http://user:hunter2@x", port: 70_000 })
    await expect(wrong).rejects.toThrow(
      /^redisUrl has a scheme .*: write redis:\/\/ or rediss:\/\/; port is no number from 0 to 65535$/,
    )
  })

  it("says that a port is taken", async () => {
    await expect(startWith({ port: gateway.port })).rejects.toThrow(`port ${gateway.port} is taken`)
  })
})

describe("Redis away", () => {
  it("is answered with 503 at once, and comes back by itself", async () => {
    const link = await createLink()
    const told: string[] = []
    const say = (fields: object, message: string) => void told.push(message + JSON.stringify(fields))
    const one = await start({ redisUrl: link.url, log: { info: say, warn: say, error: say } })
    expect((await ask("/ping", undefined, { at: one }))[0]).toBe(200)
    await link.cut()
    const away = [503, { error: "ERR Redis cannot be reached" }]
    await poll(() => ask("/ping", undefined, { at: one })).toEqual(away)
    expect(await ask("/pipeline", [["PING"]], { at: one })).toEqual(away)
    expect(await ask("/multi-exec", [["PING"]], { at: one })).toEqual(away)
    expect(await ask("/subscribe/a", undefined, { at: one })).toEqual(away)
    await link.mend()
    await poll(() => ask("/ping", undefined, { at: one })).toEqual([200, { result: "PONG" }])
    expect(told.filter((line) => line.startsWith("redis:"))).toEqual([
      "redis:connected{}",
      expect.stringMatching(/^redis:lost\{"reason":"\w+"\}$/),
      "redis:connected{}",
    ])
  })

  it("does not keep a gateway from starting", async () => {
    const link = await createLink()
    await link.cut()
    const one = await start({ redisUrl: link.url })
    expect((await ask("/ping", undefined, { at: one }))[0]).toBe(503)
    await link.mend()
    await poll(async () => (await ask("/ping", undefined, { at: one }))[0]).toBe(200)
  })

  it("ends what is under way", async () => {
    const link = await createLink()
    const one = await start({ redisUrl: link.url })
    link.setSilent(true)
    const pending = ask("/ping", undefined, { at: one })
    const stream = ask("/subscribe/a", undefined, { at: one })
    // Each connection through the link is a socket at both its sides.
    await poll(() => link.openSockets()).toBe(4)
    await link.cut()
    expect((await pending)[0]).toBe(503)
    expect((await stream)[0]).toBe(503)
  })

  // A link that is dead at the other end takes what is written and never closes: waiting for it would be for ever.
  it("is noticed when a link only goes silent", async () => {
    const link = await createLink()
    const one = await start({ redisUrl: link.url })
    link.setSilent(true)
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] })
    try {
      const pending = ask("/ping", undefined, { at: one })
      await poll(() => vi.getTimerCount()).toBeGreaterThan(0)
      vi.runOnlyPendingTimers()
      expect(await pending).toEqual([503, { error: "ERR Redis did not answer in time" }])
    } finally {
      vi.useRealTimers()
    }
    link.setSilent(false)
    await poll(async () => (await ask("/ping", undefined, { at: one }))[0]).toBe(200)
  })

  it("tells neither a token, an argument nor an address to the log", async () => {
    const told: string[] = []
    const say = (fields: object, message: string) => void told.push(message + JSON.stringify(fields))
    const url = new URL(redis.url)
    Object.assign(url, { username: "nobody", password: "hunter2" })
    const one = await start({ redisUrl: url.href, log: { info: say, warn: say, error: say } })
    await ask("/get/an-argument", undefined, { at: one })
    expect(told.join()).toContain(
      'redis:lost{"reason":"WRONGPASS","detail":"Redis refuses us: mend the user and the password in REDIS_URL"}',
    )
    expect(told.join()).not.toMatch(/hunter2|nobody|an-argument|a-token/)
  })
})

describe("@upstash/redis", () => {
  it("runs scripts, by text and by digest", async () => {
    const upstash = upstashClient(narrow)
    const text = "return {KEYS[1], ARGV[1], 'OK', redis.call('INCR', KEYS[1])}"
    expect(await upstash.eval(text, ["n"], ["é"])).toEqual(["n", "é", "OK", 1])
    const sha = await admin.scriptLoad(text)
    expect(await upstash.evalsha(sha, ["n"], ["OK"])).toEqual(["n", "OK", "OK", 2])
    await expect(upstash.evalsha("0".repeat(40), [], [])).rejects.toThrow(/NOSCRIPT/)
    const script = upstash.createScript<number>("return redis.call('INCR', KEYS[1])")
    expect([await script.exec(["n"], []), await script.exec(["n"], [])]).toEqual([3, 4])
  })

  it("runs pipelines and transactions", async () => {
    const upstash = upstashClient()
    const results = await upstash
      .pipeline()
      .set("a", { b: [1] })
      .get("a")
      .hset("h", { f: 1 })
      .hgetall("h")
      .exec()
    expect(results).toEqual(["OK", { b: [1] }, 1, { f: 1 }])
    expect(await upstash.multi().incr("n").incr("n").exec()).toEqual([1, 2])
    await expect(upstash.multi().set("a", "x").incr("a").exec()).rejects.toThrow(/not an integer/)
    const gathered = await Promise.all([
      upstash.get("n"),
      upstash.zmscore("z", ["m"]),
      upstash.mget("n", "none"),
    ])
    expect(gathered).toEqual([2, [null], [2, null]])
  })

  it("reads its own writes with the token it is given", async () => {
    const upstash = upstashClient()
    for (let n = 1; n <= 20; n++) {
      await upstash.set("n", n)
      expect(await upstash.get("n")).toBe(n)
    }
  })

  it("subscribes, by name and by pattern, and lets go", async () => {
    const upstash = upstashClient()
    const named = upstash.subscribe<{ n: number }>("chat")
    const matched = upstash.psubscribe<{ n: number }>("ch*")
    const seen: unknown[] = []
    const failed: unknown[] = []
    named.on("subscribe", (count) => seen.push(["subscribe", count]))
    named.on("message", ({ channel, message }) => seen.push([channel, message]))
    matched.on("pmessage", ({ pattern, channel, message }) => seen.push([pattern, channel, message]))
    named.on("error", (error) => failed.push(error))
    await poll(subscribers).toBe(2)
    await poll(() => seen).toEqual([["subscribe", 1]])
    expect(await upstash.publish("chat", { n: 1 })).toBe(2)
    await poll(() => seen.length).toBe(3)
    expect(seen).toContainEqual(["chat", { n: 1 }])
    expect(seen).toContainEqual(["ch*", "chat", { n: 1 }])
    await Promise.all([named.unsubscribe(), matched.unsubscribe()])
    await poll(subscribers).toBe(0)
    expect(failed).toEqual([])
  })

  it("shows what Redis said", async () => {
    await expect(upstashClient(narrow).set("a", 1)).rejects.toThrow(
      "ERR command 'set' is not allowed by this gateway",
    )
    const wrong = new Redis({ url: gateway.url, token: "wrong", enableTelemetry: false })
    await expect(wrong.get("a")).rejects.toThrow("WRONGPASS invalid or missing auth token")
  })
})
