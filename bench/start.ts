/**
 * `npm run bench:start`: cold starts. `tidemark relay` from its spawn to its ready line, beside a bare script on the same
 * client of Redis; the Worker from the spawn of raw workerd to its first answered publish, beside a route of Hono's that
 * makes the same call; and how large what is deployed is. Ratios count; absolute times are this machine's.
 */
import { spawnSync } from "node:child_process"
import { copyFile, mkdir, mkdtemp, readFile, symlink, writeFile } from "node:fs/promises"
import { request } from "node:http"
import { join } from "node:path"
import { setTimeout as delay } from "node:timers/promises"
import { gzipSync } from "node:zlib"
import { transform } from "esbuild"
import { bundleWorker } from "../cli/dev/bundle.ts"
import { workerEntry } from "../cli/worker-entry.ts"
import { parseConfig } from "../protocol/config/config.ts"
import type { ConfigInput } from "../protocol/config/schema.ts"
import { publishScript } from "../protocol/scripts.gen.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import { hashToken, newToken } from "../protocol/tokens.ts"
import { type Table, writeResults } from "./support/results.ts"
import { type Contender, inTurns, line, ROUNDS } from "./support/rounds.ts"
import { bundled, onStage, root, type Stage, versionsOf } from "./support/stage.ts"
import { median, ratios, spread } from "./support/statistics.ts"
import { spawnRaw } from "./support/workerd.ts"

/** A start is over so soon that more of them cost little. */
const SPAWNS = 2 * ROUNDS
const POLL: Milliseconds = 2
const GIVE_UP: Milliseconds = 10 * SECOND

const INSTALLED = "tidemark relay"
const FIRST = "tidemark relay, nothing compiled before"
const CLONE = "tidemark relay, in a clone"
const BARE_NODE = "bare node"
const WORKER = "Tidemark's Worker"
const BARE_HONO = "bare Hono"

type Starts = ReadonlyMap<string, readonly Milliseconds[]>

interface Program extends Contender {
  readonly args: readonly string[]
  readonly env: () => Promise<Readonly<Record<string, string>>>
}

const SECRETS = { CDN_SECRET: `whsec_${Buffer.alloc(24, 1).toString("base64")}` }

const configOf = (tokenHash: string): ConfigInput => ({
  tokens: [{ name: "bench", sha256: tokenHash, scopes: ["publish:*"] }],
  namespaces: { blog: {} },
  targets: {
    cdn: {
      type: "http",
      url: "http://127.0.0.1:1/",
      secret: { secret: "CDN_SECRET" },
      namespaces: ["*"],
    },
  },
})

/** The package as npm installs it, which brings what was built, and the bare script as such: `npm run build` comes before. */
async function installedIn(directory: string): Promise<{ readonly launcher: string; readonly bare: string }> {
  const [launcher, bare] = [join(directory, "cli/tidemark.js"), join(directory, "connect.mjs")]
  await mkdir(join(directory, "cli"))
  await copyFile(join(root, "cli/tidemark.js"), launcher)
  await copyFile(join(root, "package.json"), join(directory, "package.json"))
  await symlink(join(root, "dist"), join(directory, "dist"))
  await symlink(join(root, "node_modules"), join(directory, "node_modules"))
  const { code } = await transform(await readFile(join(root, "bench/bare/connect.ts")), { loader: "ts" })
  await writeFile(bare, code)
  return { launcher, bare }
}

async function relayStarts(stage: Stage, config: ConfigInput, redisUrl: string): Promise<Starts> {
  const directory = await stage.directory()
  const configPath = join(directory, "tidemark.config.mjs")
  await writeFile(configPath, `export default ${JSON.stringify(config)}\n`)
  const { launcher, bare } = await installedIn(directory)
  const relay = {
    REDIS_URL: redisUrl,
    TIDEMARK_CONFIG: configPath,
    TIDEMARK_RELAY_PORT: "0",
    LOG_LEVEL: "error",
    // Of this run's own, so that the first of all starts is the same one everywhere.
    NODE_COMPILE_CACHE: join(directory, "compiled"),
    ...SECRETS,
  }
  const programs: Program[] = [
    { name: INSTALLED, args: [launcher, "relay"], env: async () => relay },
    {
      name: FIRST,
      args: [launcher, "relay"],
      env: async () => ({ ...relay, NODE_COMPILE_CACHE: await mkdtemp(join(directory, "empty-")) }),
    },
    { name: CLONE, args: [join(root, "cli/tidemark.js"), "relay"], env: async () => relay },
    { name: BARE_NODE, args: [bare, redisUrl], env: async () => ({}) },
  ]
  const start = async ({ args, env }: Program): Promise<Milliseconds> => {
    const environment = await env()
    const spawnedAt = performance.now()
    const part = await stage.node(args, environment)
    const took = performance.now() - spawnedAt
    await part.stop()
    return took
  }
  // What the disk has to be asked for is asked for by whoever is first.
  for (const program of programs) await start(program)
  return inTurns("relay", programs, start, SPAWNS)
}

interface Deployed extends Contender {
  readonly script: string
  readonly bindings: Readonly<Record<string, string>>
  readonly path: string
  readonly token: string
}

/** Both minified, as both would be deployed. */
async function deployed(
  stage: Stage,
  config: ConfigInput,
  token: string,
  redisUrl: string,
): Promise<Deployed[]> {
  const gateway = await stage.gateway(redisUrl)
  const entry = workerEntry(parseConfig(config))
  const ours = await transform(await bundleWorker(entry, join(root, "tidemark.config.mjs")), { minify: true })
  return [
    {
      name: WORKER,
      script: ours.code,
      bindings: { UPSTASH_REDIS_REST_URL: gateway.url, UPSTASH_REDIS_REST_TOKEN: gateway.token },
      path: "/v1/invalidations",
      token,
    },
    {
      name: BARE_HONO,
      script: await bundled("bench/bare/hono.ts"),
      bindings: { REST_URL: gateway.url, REST_TOKEN: gateway.token, SHA1: publishScript.sha1 },
      path: "/",
      token,
    },
  ]
}

/** Publishes over a connection of its own: the status, or undefined where nobody listens yet. */
function publish(url: string, token: string): Promise<number | undefined> {
  const { promise, resolve } = Promise.withResolvers<number | undefined>()
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" }
  const sent = request(url, { method: "POST", headers, agent: false }, (response) => {
    response.resume().once("end", () => resolve(response.statusCode))
  })
  sent.once("error", () => resolve(undefined))
  sent.end(JSON.stringify({ namespace: "blog", tags: ["post-1"] }))
  return promise
}

async function firstAnswer({ name, script, bindings, path, token }: Deployed): Promise<Milliseconds> {
  const worker = await spawnRaw(script, bindings)
  try {
    while (performance.now() - worker.spawnedAt < GIVE_UP) {
      const status = await publish(worker.url + path, token)
      const took = performance.now() - worker.spawnedAt
      if (status === 202) return took
      if (status !== undefined) throw new Error(`${name} answered its first publish ${status}`)
      await delay(POLL)
    }
    throw new Error(`${name} did not answer within ${GIVE_UP} ms`)
  } finally {
    await worker.stop()
  }
}

/** What the scripts that hold the budgets print of each bundle: its name, and its size with the verdict. */
function printedSizes(script: string): Table["rows"] {
  const { stdout, stderr } = spawnSync(process.execPath, [join(root, "scripts", script)], {
    encoding: "utf8",
  })
  const rows = stdout.split("\n").flatMap((said) => {
    const [, what, size, unit, verdict] =
      /^(\S+?):?\s+([\d.]+) (bytes|KiB) of gzip, (\w+ .*)$/.exec(said) ?? []
    return what === undefined ? [] : [{ what, gzip: `${size} ${unit}`, budget: verdict ?? "" }]
  })
  if (rows.length === 0) throw new Error(`${script} printed no size: ${stdout}${stderr}`)
  return rows
}

const startRows = (starts: Starts, beside: string, what: string): Table["rows"] =>
  Array.from(starts, ([contender, took]) => ({
    contender,
    [`${what}, ms`]: spread(took),
    [`/ ${beside}`]: spread(ratios(took, starts.get(beside) ?? [])),
  }))

const ratioOf = (starts: Starts, ours: string, theirs: string): number =>
  median(ratios(starts.get(ours) ?? [], starts.get(theirs) ?? []))

async function main(stage: Stage): Promise<void> {
  const { url } = await stage.redis()
  const token = newToken()
  const config = configOf(await hashToken(token))
  const relays = await relayStarts(stage, config, url)
  const workers = await deployed(stage, config, token, url)
  // The script must be known to the server before the bare route may name it by its digest alone.
  for (const worker of workers) await firstAnswer(worker)
  const answers = await inTurns("Worker", workers, firstAnswer, SPAWNS)
  line("what is deployed …")
  const bundles = workers.map(({ name, script }) => ({
    what: name,
    bytes: Buffer.byteLength(script),
    gzip: gzipSync(script).length,
  }))
  await writeResults({
    name: "start",
    settings: { ...versionsOf("redis", "workerd"), spawns: SPAWNS, poll: POLL },
    tables: [
      {
        title: "from the spawn to the ready line, median (least–most)",
        rows: startRows(relays, BARE_NODE, "ready"),
      },
      {
        title: "from the spawn of workerd to the first publish that is answered 202",
        rows: startRows(answers, BARE_HONO, "answered"),
      },
      { title: "the Workers that were started, minified, in bytes", rows: bundles },
      {
        title: "what is deployed and what a site bundles",
        rows: [...printedSizes("bundle-size.ts"), ...printedSizes("client-size.ts")],
      },
    ],
    aims: [
      {
        what: "relay ready / bare node's",
        value: ratioOf(relays, INSTALLED, BARE_NODE),
        is: "below",
        limit: 3,
      },
      {
        what: "relay ready, nothing compiled before / bare node's",
        value: ratioOf(relays, FIRST, BARE_NODE),
        is: "below",
        limit: 3,
      },
      {
        what: "Worker's first answer / bare Hono's",
        value: ratioOf(answers, WORKER, BARE_HONO),
        is: "at most",
        limit: 1.5,
      },
    ],
  })
}

await onStage(main)
