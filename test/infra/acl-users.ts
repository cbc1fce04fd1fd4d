import { createHash, randomBytes } from "node:crypto"
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { RunningServer } from "../../cli/servers/process.ts"
import { startRedis } from "../../cli/servers/redis.ts"
import { asList, asText, type Store } from "../../protocol/store.ts"
import { connectUpstream, type Upstream } from "../../relay-node/redis/upstream.ts"
import { redisStore } from "../../relay-node/store.ts"

export const USERS = ["publisher", "reader", "relay"] as const
export type UserName = (typeof USERS)[number]

/** Something that Redis refused a user: `command`, `key` or `channel`, and which. */
export interface Denial {
  readonly user: string
  readonly reason: string
  readonly object: string
}

/** A Redis that has the users of `infra/redis/users.acl`, and one of the test's own that may do everything. */
export interface GuardedRedis {
  readonly admin: Store
  urlOf(user: UserName): string
  /** What is granted to a user, each on its own: `+get`, `~tm:{*}:head`, `&tm:v1:*`. */
  grantsOf(user: UserName): readonly string[]
  /** Leaves a user all that it has in the file but `without`, empties Redis and forgets what was refused. */
  reset(user: UserName, without?: string): Promise<void>
  denials(): Promise<Denial[]>
  stop(): Promise<void>
}

const FILE = new URL("../../infra/redis/users.acl", import.meta.url)
const silent = { info: () => {}, warn: () => {}, error: () => {} }

export async function startGuardedRedis(): Promise<GuardedRedis> {
  const passwords = Object.fromEntries(
    [...USERS, "admin"].map((user) => [user, randomBytes(32).toString("hex")]),
  )
  const directory = await mkdtemp(join(tmpdir(), "tidemark-acl-"))
  const lines = await usersWith(passwords)
  const file = join(directory, "users.acl")
  await writeFile(file, [...lines, `user admin on >${passwords["admin"]} ~* &* +@all`, ""].join("\n"))
  const redis: RunningServer = await startRedis({ args: ["--aclfile", file] })
  const urlOf = (user: string) => redis.url.replace("//", `//${user}:${passwords[user]}@`)
  const upstream: Upstream = connectUpstream(urlOf("admin"), silent)
  await upstream.tried
  const admin = redisStore(upstream)
  const rulesOf = (user: UserName) => {
    const rules = lines
      .find((line) => line.startsWith(`user ${user} `))
      ?.split(" ")
      .slice(2)
    if (!rules) throw new Error(`${FILE.pathname} has no user ${user}`)
    return rules
  }
  return {
    admin,
    urlOf,
    grantsOf: (user) => rulesOf(user).filter((rule) => /^[+~%&]/.test(rule)),
    async reset(user, without) {
      const rules = rulesOf(user).filter((rule) => rule !== without)
      await admin.pipeline([
        ["ACL", "SETUSER", user, "reset", ...rules],
        // Scripts too: EVAL is only asked for where a server does not know them yet.
        ["SCRIPT", "FLUSH"],
        ["FLUSHALL"],
        ["CONFIG", "RESETSTAT"],
        ["ACL", "LOG", "RESET"],
      ])
    },
    async denials() {
      const [log] = await admin.pipeline([["ACL", "LOG", "100"]])
      return asList(log).map((entry) => {
        const flat = asList(entry).map(asText)
        const field = (name: string) => flat[flat.indexOf(name) + 1] ?? ""
        return { user: field("username"), reason: field("reason"), object: field("object") }
      })
    },
    async stop() {
      upstream.close()
      await redis.stop()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** The file's lines with hashes where it has placeholders, as whoever installs it puts them in. */
async function usersWith(passwords: Readonly<Record<string, string>>): Promise<string[]> {
  const text = await readFile(FILE, "utf8")
  const filled = text.replaceAll(/#([A-Z]+)_PASSWORD_SHA256/g, (_, name: string) => {
    const password = passwords[name.toLowerCase()]
    if (password === undefined) throw new Error(`nobody has the password of ${name}`)
    return `#${createHash("sha256").update(password).digest("hex")}`
  })
  return filled.split("\n").filter((line) => line !== "")
}
