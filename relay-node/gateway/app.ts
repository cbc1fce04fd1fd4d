import type { HttpBindings } from "@hono/node-server"
import { type Context, Hono } from "hono"
import { ErrorReply } from "redis"
import { commandName, isBlocking, isCommandAllowed, isStreamAllowed, refusal } from "./commands.ts"
import { UpstreamError } from "../redis/deadline.ts"
import { guard } from "./guard.ts"
import type { GatewaySettings } from "./options.ts"
import { JSON_TYPES, RESP2_TYPES, writeError, writeResp2, writeResult } from "./reply.ts"
import {
  parseCommandBody,
  parseCommandsBody,
  pathParts,
  readBody,
  Refused,
  replyFormat,
  toPathCommand,
} from "./request.ts"
import { streamEvents, type Subject } from "./sse.ts"
import type { SyncToken } from "./sync-token.ts"
import type { Upstream } from "../redis/upstream.ts"
import type { RawReply, RedisCommand } from "../redis/types.ts"

type Env = { Bindings: HttpBindings }

interface AppParts {
  readonly settings: GatewaySettings
  readonly upstream: Upstream
  readonly syncToken: SyncToken
  /** Whether this gateway is going away, so that clients should not keep their connections to it. */
  isClosing(): boolean
}

/** The Upstash REST protocol in front of an `Upstream`. */
export function createApp(parts: AppParts): Hono<Env> {
  const { settings, upstream, syncToken } = parts
  const app = new Hono<Env>()

  // Made in one piece, with plain headers: node-server writes such a response without building web streams for it.
  const respond = (
    status: number,
    body: string | Buffer<ArrayBuffer> | ReadableStream,
    headers: Readonly<Record<string, string>> = {},
  ): Response =>
    new Response(body, {
      status,
      headers: {
        "content-type": "application/json",
        "upstash-sync-token": syncToken.current(),
        ...(parts.isClosing() ? { connection: "close" } : {}),
        ...headers,
      },
    })

  const refuseUnlessAllowed = (command: RedisCommand): void => {
    if (!isCommandAllowed(command, settings.allCommands)) throw new Refused(400, refusal(command[0]))
  }

  async function single(c: Context<Env>, path: string, command: RedisCommand): Promise<Response> {
    const format = replyFormat(c.req)
    refuseUnlessAllowed(command)
    settings.onRequest({ path, commands: [commandName(command)] })
    const types = format === "resp2" ? RESP2_TYPES : JSON_TYPES
    const reply = isBlocking(command)
      ? await upstream.exchangeAlone(command, types, c.req.raw.signal)
      : ((await upstream.exchange([command], types))[0] ?? null)
    syncToken.advance([command])
    const status = reply instanceof ErrorReply ? 400 : 200
    return format === "resp2"
      ? respond(status, writeResp2(reply), BINARY)
      : respond(status, writeResult(reply, format))
  }

  async function pipeline(c: Context<Env>): Promise<Response> {
    const format = replyFormat(c.req)
    const commands = parseCommandsBody(await readBody(c.req))
    // One that is refused has its error in its place, and the others run all the same.
    const isSent = (command: RedisCommand) =>
      isCommandAllowed(command, settings.allCommands) && !isBlocking(command)
    const sent = commands.filter(isSent)
    settings.onRequest({ path: "/pipeline", commands: sent.map(commandName) })
    const answered = await upstream.exchange(sent, format === "resp2" ? RESP2_TYPES : JSON_TYPES)
    syncToken.advance(sent)
    let next = 0
    const replies = commands.map((command) =>
      isSent(command) ? (answered[next++] ?? null) : new ErrorReply(refusal(command[0])),
    )
    if (format === "resp2") return respond(200, Buffer.concat(replies.map(writeResp2)), BINARY)
    return respond(200, `[${replies.map((reply) => writeResult(reply, format)).join(",")}]`)
  }

  async function multiExec(c: Context<Env>): Promise<Response> {
    const format = replyFormat(c.req)
    if (format === "resp2") throw new Refused(400, "ERR resp2 is not applicable to transactions")
    const commands = parseCommandsBody(await readBody(c.req))
    commands.forEach(refuseUnlessAllowed)
    settings.onRequest({ path: "/multi-exec", commands: commands.map(commandName) })
    // Nothing comes between: the shared connection is only ever written to by whole exchanges.
    const replies = await upstream.exchange([["MULTI"], ...commands, ["EXEC"]], JSON_TYPES)
    syncToken.advance(commands)
    const results = replies.at(-1)
    if (Array.isArray(results)) {
      return respond(200, `[${results.map((reply: RawReply) => writeResult(reply, format)).join(",")}]`)
    }
    return respond(400, writeError(discardReason(replies)))
  }

  async function events(c: Context<Env>, verb: Subject["verb"], names: readonly string[]): Promise<Response> {
    // A HEAD would be answered without the body whose end closes the connection to Redis.
    if (c.req.method === "HEAD") throw new Refused(405, "ERR method not allowed", { allow: "GET, POST, PUT" })
    const name = verb.toUpperCase()
    if (!isStreamAllowed(name, settings.allCommands)) throw new Refused(400, refusal(name))
    if (verb !== "monitor" && (names.length === 0 || names.includes(""))) {
      throw new Refused(400, `ERR wrong number of arguments for '${verb}' command`)
    }
    settings.onRequest({ path: `/${verb}`, commands: [name] })
    const connection = await upstream.open(verb === "monitor" ? "other" : "subscriber")
    const subject: Subject = verb === "monitor" ? { verb } : { verb, names: [...new Set(names)] }
    const stream = await streamEvents(connection, subject, () => upstream.end(connection))
    // Its end is the end of its connection, which even a client that does not understand chunks will notice.
    const headers = { "content-type": "text/event-stream", "cache-control": "no-cache", connection: "close" }
    return respond(200, stream, { ...headers, "x-accel-buffering": "no" })
  }

  app.use(guard(settings))
  app.on(["POST", "PUT"], "/", async (c) => single(c, "/", parseCommandBody(await readBody(c.req))))
  app.on(["POST", "PUT"], "/pipeline", pipeline)
  app.on(["POST", "PUT"], "/multi-exec", multiExec)
  app.on(["GET"], ["/pipeline", "/multi-exec"], () => {
    throw new Refused(405, "ERR method not allowed", { allow: "POST, PUT" })
  })
  app.all("*", async (c) => {
    const url = new URL(c.req.url)
    const [verb = "", ...names] = pathParts(url).map(String)
    const stream = STREAM_VERBS.find((known) => known === verb.toLowerCase())
    if (stream) return events(c, stream, names)
    const command = toPathCommand(url, await readBody(c.req))
    return single(c, `/${command[0].toLowerCase()}`, command)
  })

  app.onError((error) => {
    if (error instanceof Refused) return respond(error.status, writeError(error.message), error.headers)
    if (error instanceof ErrorReply) return respond(400, writeError(error.message))
    if (error instanceof UpstreamError) return respond(503, writeError(error.message))
    // Its message may quote a request; its name and place may not.
    const at = error.stack?.split("\n").find((line) => line.startsWith("    at "))
    settings.log.error({ error: error.name, at: at?.trim() }, "gateway:requestFailed")
    return respond(500, writeError("ERR internal error"))
  })
  return app
}

const BINARY = { "content-type": "application/octet-stream" }

const STREAM_VERBS = ["subscribe", "psubscribe", "monitor"] as const

/** Why a transaction was not run: what Redis found wrong while it was queued, else what it said to EXEC. */
function discardReason(replies: readonly RawReply[]): string {
  const [first, last] = [replies.find((reply) => reply instanceof ErrorReply), replies.at(-1)]
  if (!first) return "EXECABORT Transaction discarded"
  return first === last ? first.message : `EXECABORT Transaction discarded because of: ${first.message}`
}
