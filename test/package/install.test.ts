// The package as npm installs it into an empty folder: how large that is, and that everything in it runs there.
import { type ChildProcess, spawn } from "node:child_process"
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { build, transform } from "esbuild"
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest"
import { startRedis } from "../../cli/servers/redis.ts"
import { programOf, runBuilt, RUNTIMES } from "../frameworks/runtimes.ts"
import { diskUsage, exec, install, root, temporaryDirectory } from "./support.ts"

const MB = 1e6

/** What a site that only reads epochs may take on disk. */
const BUDGET = 30 * MB

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>
  readonly peerDependencies: Readonly<Record<string, string>>
  readonly devDependencies: Readonly<Record<string, string>>
  readonly exports: Readonly<Record<string, string>>
}

let site: string
let manifest: Manifest

beforeAll(async () => {
  site = await mkdtemp(join(tmpdir(), "tidemark-site-"))
  const started = performance.now()
  await install(site)
  const seconds = (performance.now() - started) / 1_000
  const installed = await readdir(join(site, "node_modules"))
  const size = await diskUsage(join(site, "node_modules"))
  process.stdout.write(
    `installed ${(size / MB).toFixed(1)} MB in ${seconds.toFixed(1)} s: ${installed.filter((name) => !name.startsWith(".")).join(", ")}\n`,
  )
  manifest = JSON.parse(await readFile(join(site, "node_modules/tidemark/package.json"), "utf8")) as Manifest
})

afterAll(() => rm(site, { recursive: true, force: true, maxRetries: 3 }))

/** The modules that somebody's code imports, by name. */
const entries = () => Object.keys(manifest.exports).map((name) => name.replace(/^\./, "tidemark"))

describe("a site", () => {
  it("installs no more than 30 MB, and nothing that only development needs", async () => {
    expect(await diskUsage(join(site, "node_modules"))).toBeLessThan(BUDGET)
    const names = await readdir(join(site, "node_modules"))
    for (const name of ["workerd", "miniflare", "esbuild", "redis", "@redis", "undici", "pino"])
      expect(names).not.toContain(name)
  })

  it("imports nothing at run time that it does not install", async () => {
    const below = join(site, "node_modules/tidemark")
    const { metafile } = await build({
      entryPoints: Object.values(manifest.exports).map((file) => join(below, file)),
      bundle: true,
      packages: "external",
      format: "esm",
      platform: "neutral",
      splitting: true,
      outdir: join(site, "unwritten"),
      write: false,
      metafile: true,
    })
    const imported = Object.values(metafile.outputs).flatMap(({ imports }) =>
      imports.filter(({ external }) => external).map(({ path }) => path),
    )
    const packages = imported
      .filter((path) => !/^(?:node|cloudflare):/.test(path))
      .map((path) => /^(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? path)
    const brought = [...Object.keys(manifest.dependencies), ...Object.keys(manifest.peerDependencies)]
    expect([...new Set(packages)].toSorted()).toEqual(brought.toSorted())
  })

  it.each(RUNTIMES)(
    "serves a page from the cache on %s, and every module for sites loads",
    async (runtime) => {
      const source = await readFile(join(root, "test/frameworks/runtimes/page.ts"), "utf8")
      await writeFile(join(site, "page.mjs"), (await transform(source, { loader: "ts" })).code)
      const lines = await runBuilt(runtime, join(site, "page.mjs"))
      const answers = lines.map(
        (line) => JSON.parse(line) as { readonly what: string; readonly status: string },
      )
      expect(answers.slice(0, 2)).toEqual([
        { what: "miss", status: "tidemark; fwd=uri-miss; stored", body: "page 1" },
        { what: "hit", status: "tidemark; hit", body: "page 1" },
      ])

      const names = entries().filter((name) => name !== "tidemark/worker")
      const loading = names.map((name) => `console.log(Object.keys(await import("${name}")).length > 0)`)
      await writeFile(join(site, "loads.mjs"), loading.join("\n"))
      expect(await runBuilt(runtime, join(site, "loads.mjs"))).toEqual(names.map(() => "true"))
    },
  )
})

/** The command as it lies in the site. */
const command = () => join(site, "node_modules/.bin/tidemark")

interface Running {
  readonly child: ChildProcess
  /** The lines of standard output so far, parsed. */
  readonly events: { readonly event: string; readonly part: string; readonly url?: string }[]
  stderr(): string
  /** Resolves with the exit code. */
  readonly exited: Promise<number | null>
  /** Resolves when `condition` holds, and rejects where it ends before that. */
  until(condition: () => boolean): Promise<void>
}

/** Starts the command in a folder of its own, with nothing in its environment but what is given. */
async function start(args: readonly string[], env: Readonly<Record<string, string>>): Promise<Running> {
  const cwd = await temporaryDirectory()
  const child = spawn(command(), args, {
    cwd,
    env: { PATH: process.env["PATH"] ?? "", HOME: cwd, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  })
  let [stdout, stderr] = ["", ""]
  const events: Running["events"] = []
  let onChange = () => {}
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    const lines = (stdout + text).split("\n")
    stdout = lines.pop() ?? ""
    for (const line of lines) events.push(JSON.parse(line) as Running["events"][number])
    onChange()
  })
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text
    onChange()
  })
  const exited = new Promise<number | null>((resolve) => child.once("close", (code) => resolve(code)))
  onTestFinished(async () => {
    child.kill("SIGTERM")
    await exited
  })
  return {
    child,
    events,
    stderr: () => stderr,
    exited,
    until: (condition) =>
      new Promise((resolve, reject) => {
        onChange = () => void (condition() && resolve())
        onChange()
        void exited.then((code) =>
          reject(new Error(`tidemark ${args.join(" ")} ended with ${code}:\n${stderr}`)),
        )
      }),
  }
}

describe("a relay", () => {
  it("says its help, and starts on a real Redis until it is ready", async () => {
    expect(await exec(command(), ["relay", "--help"], { cwd: site })).toContain("Usage: tidemark relay")
    const redis = await startRedis()
    onTestFinished(() => redis.stop())
    const directory = await temporaryDirectory()
    const config = join(directory, "tidemark.config.ts")
    await writeFile(
      config,
      `import { defineConfig } from "tidemark/config"
       export default defineConfig({ namespaces: { blog: {} }, targets: { print: { type: "print", namespaces: ["*"] } } })`,
    )
    const env = { REDIS_URL: redis.url, TIDEMARK_CONFIG: config, TIDEMARK_RELAY_PORT: "0" }
    const relay = await start(["relay"], env)
    await relay.until(() => relay.events.some(({ event, part }) => event === "ready" && part === "relay"))
    relay.child.kill("SIGTERM")
    expect(await relay.exited).toBe(0)
  })

  it("refuses a Node that is too old in one sentence", async () => {
    const launcher = join(site, "node_modules/tidemark/cli/tidemark.js")
    await expect(exec(programOf("node20"), [launcher, "relay"], { cwd: site })).rejects.toThrow(
      /ended with 2:\ntidemark needs Node 22\.19 or newer, and this is Node 20\.\d+\.\d+\.\n$/,
    )
  })
})

describe("tidemark dev", () => {
  const FETCHING = "fetching esbuild and miniflare with npm (190 MB on disk, once) …"
  const PORTS = {
    TIDEMARK_WORKER_PORT: "0",
    TIDEMARK_RELAY_PORT: "0",
    TIDEMARK_GATEWAY_PORT: "0",
    TIDEMARK_SITE_PORT: "0",
  }

  /** Redis and Varnish are those of this clone, and npm's cache is that of whoever runs this. */
  async function startDev(cache: string, env: Readonly<Record<string, string>> = {}): Promise<Running> {
    return start(["dev"], { ...PORTS, XDG_CACHE_HOME: cache, npm_config_cache: npmCache, ...env })
  }

  let npmCache: string
  beforeAll(async () => {
    npmCache = (await exec("npm", ["config", "get", "cache"], { cwd: site })).trim()
    const own = join(site, "node_modules/tidemark/node_modules/.cache")
    await mkdir(own, { recursive: true })
    await symlink(join(root, "node_modules/.cache/tidemark"), join(own, "tidemark"))
  })

  const isReady = ({ events }: Running) => events.some(({ part }) => part === "all")

  /** A PATH with this Node, and no npm. */
  async function pathWithoutNpm(): Promise<string> {
    const path = await temporaryDirectory()
    await symlink(process.execPath, join(path, "node"))
    return path
  }

  it("fetches its tools once, also where two start at once, and finds them later", async () => {
    const cache = await temporaryDirectory()
    const both = await Promise.all([startDev(cache), startDev(cache)])
    await Promise.all(both.map((dev) => dev.until(() => isReady(dev))))
    for (const dev of both) {
      expect(dev.stderr()).toContain(FETCHING)
      const [worker] = dev.events.filter(({ part }) => part === "worker")
      expect((await fetch(`${worker?.url}/healthz`)).status).toBe(200)
      dev.child.kill("SIGTERM")
      expect(await dev.exited).toBe(0)
    }
    const kept = await readdir(join(cache, "tidemark"))
    expect(kept).toEqual([expect.stringMatching(/^dev-tools-[0-9a-f]{12}-/)])

    const later = await startDev(cache, { PATH: await pathWithoutNpm() })
    await later.until(() => isReady(later))
    expect(later.stderr()).not.toContain("fetching esbuild")

    // What lost a file is not taken for whole.
    const [folder = ""] = kept
    await rm(join(cache, "tidemark", folder, "node_modules/@esbuild"), { recursive: true })
    const broken = await startDev(cache, { PATH: await pathWithoutNpm() })
    expect(await broken.exited).toBe(1)
    expect(broken.stderr()).toContain("(npm is not on the PATH)")
  })

  it("says what to do where npm or its registry is missing, and leaves nothing behind", async () => {
    const { esbuild, miniflare } = manifest.devDependencies
    const advice = `see to it that npm runs and reaches its registry, or install esbuild@${esbuild} and miniflare@${miniflare} beside tidemark`
    const said = (reason: string) =>
      `tidemark: no esbuild and miniflare found and none could be fetched (${reason}): ${advice}\n`
    const cache = await temporaryDirectory()
    const withoutNpm = await startDev(cache, { PATH: await pathWithoutNpm() })
    expect(await withoutNpm.exited).toBe(1)
    expect(withoutNpm.stderr()).toBe(`${FETCHING}\n${said("npm is not on the PATH")}`)

    // Nothing answers there.
    const nowhere = {
      npm_config_registry: "http://127.0.0.1:9/",
      npm_config_cache: await temporaryDirectory(),
    }
    const withoutNetwork = await startDev(cache, nowhere)
    expect(await withoutNetwork.exited).toBe(1)
    expect(withoutNetwork.stderr()).toMatch(
      /\(npm says: [^\n]*127\.0\.0\.1:9[^\n]* failed[^\n]*\): see to it/,
    )
    expect(await readdir(join(cache, "tidemark"))).toEqual([])
  })

  it("ends while it fetches when it is asked to, and leaves nothing behind", async () => {
    const cache = await temporaryDirectory()
    const dev = await startDev(cache)
    await dev.until(() => dev.stderr().includes(FETCHING))
    dev.child.kill("SIGTERM")
    expect(await dev.exited).toBe(0)
    expect(await readdir(join(cache, "tidemark"))).toEqual([])
  })
})
