// What is deployed from here names files, ports, dates and commands of the repository: each is held against it.
import { existsSync, statSync } from "node:fs"
import { dirname, join, resolve } from "node:path"
import { describe, expect, it } from "vitest"
import { unstable_readConfig } from "wrangler"
import { parse } from "yaml"
import { UPSTASH_SDK } from "../../cli/upstash-transport.ts"
import { COMPATIBILITY_DATE } from "../../cli/dev/serve-worker.ts"
import { PACKAGE_EXPORTS } from "../../cli/package-root.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import { DEFAULT_PORT as GATEWAY_PORT } from "../../relay-node/gateway/options.ts"
import demoConfig from "../../tidemark.config.ts"
import { instructionsOf } from "./image.ts"
import { allIn, PARTS, read, RELAY_PORT, root, scripts, secretsOf } from "./repository.ts"

// What its lines do is tried in image.test.ts.
describe("relay.Dockerfile", () => {
  const instructions = instructionsOf("infra/docker/relay.Dockerfile")
  const of = (name: string) =>
    instructions.flatMap((instruction) => (instruction.name === name ? [instruction.text] : []))
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

describe("compose.yaml", () => {
  interface Confined {
    readonly read_only?: boolean
    readonly cap_drop?: readonly string[]
    readonly cap_add?: unknown
    readonly privileged?: unknown
    readonly security_opt?: readonly string[]
    readonly mem_limit?: string
    readonly pids_limit?: number
    readonly tmpfs?: readonly string[]
  }
  const { services } = parse(read("infra/docker/compose.yaml")) as {
    services: Readonly<Record<string, Confined>>
  }

  it.each(Object.entries(services))("confines %s", (_, service) => {
    expect(service).toMatchObject({
      read_only: true,
      cap_drop: ["ALL"],
      security_opt: ["no-new-privileges:true"],
      mem_limit: expect.stringMatching(/^\d+[mg]$/),
      pids_limit: expect.any(Number),
      tmpfs: expect.arrayContaining(["/tmp"]),
    })
    expect([service.cap_add, service.privileged]).toEqual([undefined, undefined])
  })

  it("starts Redis as its own user, and lets it fill up before it is killed", () => {
    const { redis } = services as unknown as {
      redis: Confined & { user: string; command: readonly string[] }
    }
    expect(redis.user).toBe("redis")
    const [most = ""] = allIn(redis.command.join(" "), /--maxmemory (\d+)mb/g)
    expect([redis.mem_limit, Number(most) * 2]).toEqual(["1g", 1024])
  })
})

it("every docker run that is told is confined", () => {
  const texts = ["README.md", "infra/docker/relay.Dockerfile"].map((file) => read(file))
  for (const text of texts) {
    const [run = ""] = /docker run (?:.*\\\n)*.*/.exec(text) ?? []
    for (const flag of ["--read-only", "--tmpfs /tmp", "--cap-drop ALL", "--security-opt no-new-privileges"])
      expect(run).toContain(flag)
  }
})

it("git sees no file that a token is written to", () => {
  const ignored = read(".gitignore").split("\n")
  expect(ignored).toEqual(expect.arrayContaining([".tidemark/", ".dev.vars", "*.token"]))
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
    const fileOf = (name: string) => resolve(dirname(path), String(alias.get(name)))
    expect([...alias.keys()].toSorted()).toEqual([UPSTASH_SDK, "tidemark/config"])
    expect(fileOf("tidemark/config")).toBe(PACKAGE_EXPORTS["tidemark/config"])
    // Written beside the entry, by the same command.
    expect(dirname(fileOf(UPSTASH_SDK))).toBe(dirname(resolve(dirname(path), String(settings.main))))
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
