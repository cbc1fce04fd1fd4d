import { spawn } from "node:child_process"
import { once } from "node:events"
import { connect } from "node:net"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { libraryPath, unpack } from "../../cli/servers/debian.ts"
import { type Binary, provision, type ProvisionOptions, type Recipe } from "../../cli/servers/provision.ts"
import { run } from "../../cli/servers/run.ts"
import type { Reply } from "../../protocol/store.ts"
import { commandName, splitter } from "../support/resp.ts"

/**
 * Which Lua a store is built upon: 5.1 Redis, Valkey and Upstash, 5.4 Dragonfly. The others tell which of the changes
 * between them broke a script.
 * @see https://www.dragonflydb.io/docs/managing-dragonfly/scripting
 */
export const LUA_VERSIONS = ["5.1", "5.2", "5.3", "5.4"] as const
export type LuaVersion = (typeof LUA_VERSIONS)[number]

const INTERPRETER = fileURLToPath(new URL("interpreter.lua", import.meta.url))

/**
 * A Lua for the command line, found as `findRedis` does (some 0.3 MB).
 * @throws {Error} If there is none to be had, in one sentence that says how to get one; `cause` has the details.
 */
export function findLua(version: LuaVersion, options: ProvisionOptions = {}): Promise<Binary> {
  return provision(recipeOf(version), options)
}

function recipeOf(version: LuaVersion): Recipe<Binary> {
  const name = `lua${version}`
  const get = async (file: string, env: Readonly<Record<string, string>>): Promise<Binary> => {
    const exact = /^Lua (\S+)/m.exec(await run(file, ["-v"], { env: { ...process.env, ...env } }))?.[1]
    if (!exact?.startsWith(`${version}.`)) throw new Error(`${name} does not say that it is Lua ${version}`)
    return { file, env, version: exact }
  }
  return {
    name,
    advice: `install ${name}`,
    find: () => get(name, {}).catch(() => undefined),
    fetch: (place) => unpack(name, [name], place),
    getFromTree: async (tree) => get(join(tree, "usr/bin", name), await libraryPath(tree)),
  }
}

/** A reply, or what was refused and why. */
export type ScriptOutcome = { readonly reply: Reply } | { readonly error: string }

/** Runs scripts in a Lua of its own whose `redis.call` goes to a database of a real Redis. */
export interface Interpreter extends AsyncDisposable {
  /** For people: `Lua 5.4.4`. */
  readonly name: string
  readonly database: number
  /** One at a time. */
  run(text: string, keys: readonly string[], args: readonly string[]): Promise<ScriptOutcome>
  /** Messages that scripts would have published: nobody is told. */
  readonly published: string[]
}

export async function startInterpreter(
  lua: Binary,
  redis: { readonly port: number },
  database: number,
): Promise<Interpreter> {
  const socket = connect(redis.port, "127.0.0.1")
  await once(socket, "connect")
  socket.write(encode(["SELECT", String(database)]))
  await once(socket, "data")

  const child = spawn(lua.file, [INTERPRETER], {
    env: { ...process.env, ...lua.env },
    stdio: ["pipe", "pipe", "inherit"],
  })
  let answer = Promise.withResolvers<ScriptOutcome>()
  const published: string[] = []
  child.once("close", (code) => answer.reject(new Error(`lua ended with ${code}`)))
  // Told to whoever runs a script. Where nobody does, it ended as it should.
  answer.promise.catch(() => undefined)

  const replies = splitter()
  socket.on("data", (chunk) => {
    for (const reply of replies(chunk)) child.stdin.write(reply)
  })
  const messages = splitter()
  child.stdout.on("data", (chunk: Buffer) => {
    for (const message of messages(chunk)) {
      const [word = "", ...rest] = decodeList(message)
      if (word === "return") {
        const [value] = rest
        answer.resolve(value instanceof Error ? { error: value.message } : { reply: value ?? null })
        continue
      }
      const command = Buffer.concat([
        Buffer.from(`*${rest.length}\r\n`),
        message.subarray(message.indexOf("call\r\n") + "call\r\n".length),
      ])
      if (commandName(command) === "PUBLISH") {
        published.push(String(rest.at(-1)))
        child.stdin.write(":0\r\n")
      } else socket.write(command)
    }
  })
  return {
    name: `Lua ${lua.version}`,
    database,
    published,
    async run(text, keys, args) {
      answer = Promise.withResolvers()
      child.stdin.write(encode([text, String(keys.length), ...keys, ...args]))
      return answer.promise
    },
    async [Symbol.asyncDispose]() {
      socket.destroy()
      child.stdin.end()
      if (child.exitCode === null && child.signalCode === null) await once(child, "close")
    },
  }
}

const encode = (words: readonly string[]): string =>
  `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`

type Decoded = Reply | Error

/** A list of RESP2, whole. An error in it is an `Error`; one further within is not, as no script answers that. */
function decodeList(bytes: Buffer): readonly Decoded[] {
  let at = 0
  const line = () => {
    const end = bytes.indexOf("\r\n", at)
    const text = bytes.toString("utf8", at, end)
    at = end + 2
    return text
  }
  const list = (count: number): Decoded[] => Array.from({ length: count }, value)
  const value = (): Decoded => {
    const head = line()
    const rest = head.slice(1)
    switch (head.slice(0, 1)) {
      case "+":
        return rest
      case "-":
        return new Error(rest)
      case ":":
        return Number(rest)
      case "*":
        return list(Number(rest)) as Reply
      default: {
        const size = Number(rest)
        if (size < 0) return null
        at += size + 2
        return bytes.toString("utf8", at - size - 2, at - 2)
      }
    }
  }
  return list(Number(line().slice(1)))
}
