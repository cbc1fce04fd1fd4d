// What is deployed from here names files, ports, dates and commands of the repository: each is held against it.
import { execFileSync } from "node:child_process"
import { existsSync, statSync } from "node:fs"
import { cp, mkdtemp, rm, symlink } from "node:fs/promises"
import { tmpdir } from "node:os"
import { dirname, join, resolve } from "node:path"
import { describe, expect, it, onTestFinished } from "vitest"
import { unstable_readConfig } from "wrangler"
import { COMPATIBILITY_DATE } from "../../cli/dev/serve-worker.ts"
import { PACKAGE_EXPORTS } from "../../cli/package-root.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import { DEFAULT_PORT as GATEWAY_PORT } from "../../relay-node/gateway/options.ts"
import demoConfig from "../../tidemark.config.ts"
import { allIn, PARTS, read, RELAY_PORT, root, scripts, secretsOf } from "./repository.ts"

describe("relay.Dockerfile", () => {
  const instructions = read("infra/docker/relay.Dockerfile")
    .split("\n")
    .filter((line) => !line.startsWith("#"))
    .join("\n")
    .replaceAll(/\\\n\s*/g, " ")
    .split("\n")
    .filter((line) => line !== "")
  const of = (name: string) =>
    instructions.flatMap((line) => (line.startsWith(`${name} `) ? [line.slice(name.length + 1)] : []))
  const admitted = read("infra/docker/relay.Dockerfile.dockerignore")
    .split("\n")
    .flatMap((line) => (line.startsWith("!") ? [line.slice(1)] : []))

  it("copies files that are there, and that the build is given", () => {
    const copied = of("COPY")
      .filter((line) => !line.startsWith("--from"))
      .flatMap((line) => line.split(" ").slice(0, -1))
    const names = copied.filter((file) => file !== ".")
    for (const file of [...names, ...admitted]) expect(existsSync(join(root, file)), file).toBe(true)
    expect(admitted).toEqual(expect.arrayContaining(names))
  })

  it("is built from what the build is given, and its parts run on what is copied out of that", async () => {
    const [source, image] = [await temporaryDirectory(), await temporaryDirectory()]
    for (const path of admitted) {
      const filter = (file: string) => !file.endsWith(".test.ts")
      await cp(join(root, path), join(source, path), { recursive: true, filter })
    }
    // What `npm ci` brings there.
    await symlink(join(root, "node_modules"), join(source, "node_modules"))
    const builds = of("RUN").filter((line) => line.includes("generate"))
    expect(builds).toHaveLength(1)
    execFileSync("sh", ["-euc", builds.join()], { cwd: source, stdio: "pipe" })

    for (const line of of("COPY")) {
      const [, from, to] = /^--from=build \/src\/(\S+) \/app\/(\S+)$/.exec(line) ?? []
      if (from && to) await cp(join(source, from), join(image, to), { recursive: true })
    }
    const launcher = join(image, "cli/tidemark.js")
    for (const part of PARTS) {
      const said = execFileSync(process.execPath, [launcher, part, "--help"], { encoding: "utf8" })
      expect(said).toContain(`Usage: tidemark ${part}`)
    }
  })

  it("runs npm scripts that there are", () => {
    const named = allIn(of("RUN").join("\n"), /npm run ([\w:-]+)/g)
    expect(named).not.toEqual([])
    for (const name of named) expect(scripts).toHaveProperty([name])
  })

  it("starts a part, as nobody, without a shell", () => {
    const [cmd] = of("CMD")
    const [entry] = of("ENTRYPOINT")
    expect(PARTS).toEqual(expect.arrayContaining(JSON.parse(cmd!) as string[]))
    const launcher = (JSON.parse(entry!) as string[]).find((part) => part.endsWith(".js"))
    expect(existsSync(join(root, launcher!))).toBe(true)
    expect(of("USER")).toEqual(["65532:65532"])
    expect(of("FROM").at(-1)).toBe("scratch")
  })

  it("exposes and probes the ports that the parts listen on", () => {
    expect(of("EXPOSE")).toEqual([`${RELAY_PORT} ${GATEWAY_PORT}`])
    expect(of("HEALTHCHECK")[0]).toContain(`process.env.TIDEMARK_RELAY_PORT ?? ${RELAY_PORT}`)
  })
})

describe("wrangler.toml", () => {
  const path = join(root, "wrangler.toml")
  const settings = unstable_readConfig({ config: path })

  it("builds its entry by an npm script that there is", () => {
    const [, script = ""] = /^npm run --silent (\S+)$/.exec(settings.build.command ?? "") ?? []
    expect(scripts).toHaveProperty([script])
    expect(read("scripts/worker-entry.ts")).toContain(`"${settings.main!.slice(root.length + 1)}"`)
    const watched = [settings.build.watch_dir ?? []].flat()
    for (const folder of watched) expect(existsSync(join(root, folder)), folder).toBe(true)
  })

  it("has the compatibility date of what is run here, and the package's own meaning of its exports", () => {
    expect(settings.compatibility_date).toBe(COMPATIBILITY_DATE)
    const alias = new Map(Object.entries(settings.alias ?? {}))
    expect(alias.has("tidemark/config")).toBe(true)
    for (const [name, file] of alias) expect(resolve(dirname(path), String(file))).toBe(PACKAGE_EXPORTS[name])
  })

  it("names the secrets that the Worker wants, and holds none", () => {
    expect(settings.vars).toEqual({})
    const named = allIn(read("wrangler.toml"), /^# {3}([A-Z0-9_]+) {2,}/gm)
    const wanted = secretsOf(parseConfig(demoConfig), "tokens", "sources")
    expect(named.toSorted()).toEqual(
      ["UPSTASH_REDIS_REST_TOKEN", "UPSTASH_REDIS_REST_URL", ...wanted].toSorted(),
    )
  })
})

describe(".ci/run", () => {
  it("can be run, and runs scripts that there are", () => {
    expect(statSync(join(root, ".ci/run")).mode & 0o111).toBe(0o111)
    const named = allIn(read(".ci/run"), /^npm (?:run )?([\w:]+)/gm)
    expect(named).toEqual(["ci", "check", "test:package", "test"])
    for (const name of named.slice(1)) expect(scripts).toHaveProperty([name])
  })
})

async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "tidemark-image-"))
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  return directory
}
