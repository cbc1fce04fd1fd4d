import { join } from "node:path"
import { unpackOf, wrap } from "../../cli/servers/debian.ts"
import { type Binary, provision, type ProvisionOptions, type Recipe } from "../../cli/servers/provision.ts"
import { run } from "../../cli/servers/run.ts"

/** A store that speaks Redis's protocol, as one suite of Debian has it. */
export interface Engine {
  /** `<name>-<suite>`: its version is whatever the suite has by now. */
  readonly name: string
  /** For people. */
  readonly title: string
  /** Where it is from, and what that builds on. */
  readonly suites: readonly string[]
  readonly packages: readonly string[]
  readonly program: string
}

const redis = { title: "Redis", packages: ["redis-server", "redis-tools"], program: "usr/bin/redis-server" }
const valkey = {
  title: "Valkey",
  packages: ["valkey-server", "valkey-tools"],
  program: "usr/bin/valkey-server",
}
const redict = {
  title: "Redict",
  packages: ["redict-server", "redict-tools"],
  program: "usr/bin/redict-server",
}
const BACKPORTS = ["bookworm-backports", "bookworm"]

/** All that Debian has, from old to new. Others are to be had as source alone: see docs/engines.md. */
export const ENGINES: readonly Engine[] = [
  { name: "redis-bookworm", suites: ["bookworm"], ...redis },
  { name: "redis-trixie", suites: ["trixie"], ...redis },
  { name: "redis-sid", suites: ["sid"], ...redis },
  { name: "valkey-bookworm-backports", suites: BACKPORTS, ...valkey },
  { name: "valkey-trixie", suites: ["trixie"], ...valkey },
  { name: "valkey-sid", suites: ["sid"], ...valkey },
  { name: "redict-bookworm-backports", suites: BACKPORTS, ...redict },
]

/** @throws {RangeError} where there is none of that name */
export function engineOf(name: string): Engine {
  const engine = ENGINES.find((each) => each.name === name)
  if (engine === undefined)
    throw new RangeError(`there is no engine ${name}: ${ENGINES.map((each) => each.name).join(", ")}`)
  return engine
}

/**
 * An engine to start, fetched before or now (some 2 to 8 MB, and the suite's list of packages) as `findRedis` does. It is
 * run with its own suite's C library, whatever the system's is. Its file is named `redis-server`, alone in its
 * directory: first on the PATH, that makes it the Redis of everything that starts one.
 * @throws {Error} If it is not to be had, in one sentence; `cause` has the details.
 */
export function findEngine(engine: Engine, options: ProvisionOptions = {}): Promise<Binary> {
  return provision(recipeOf(engine), options)
}

function recipeOf({ name, suites, packages, program }: Engine): Recipe<Binary> {
  return {
    name,
    advice: "it needs apt-get, and the mirror of Debian that this system is from",
    find: () => Promise.resolve(undefined),
    async fetch(place) {
      await unpackOf(suites, name, packages, place)
      await wrap(place.tree, program, "redis-server")
    },
    async getFromTree(tree) {
      const file = join(tree, "tidemark/redis-server")
      const said = await run(file, ["--version"])
      const version = /^\w+ server v=(\S+)/m.exec(said)?.[1]
      if (version === undefined) throw new Error(`${name} does not say its version`)
      return { file, env: {}, version }
    },
  }
}
