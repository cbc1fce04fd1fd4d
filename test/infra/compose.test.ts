// No container runs in these tests: each name in compose.yaml is held against what it means, and what its shell does is
// done.
import { execFileSync } from "node:child_process"
import { createHash } from "node:crypto"
import { existsSync, globSync, readFileSync } from "node:fs"
import { mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { parse } from "yaml"
import { startRedis } from "../../cli/servers/redis.ts"
import composeConfig from "../../infra/docker/tidemark.config.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import { DEFAULT_PORT as GATEWAY_PORT } from "../../relay-node/gateway/options.ts"
import { connectUpstream } from "../../relay-node/redis/upstream.ts"
import { allIn, PARTS, read, RELAY_PORT, root, secretsOf } from "./repository.ts"

const docker = join(root, "infra/docker")

interface Service {
  readonly image: string
  readonly build?: { readonly context: string; readonly dockerfile: string }
  readonly command?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  readonly volumes?: readonly string[]
  readonly ports?: readonly string[]
  readonly extra_hosts?: readonly string[]
  readonly network_mode?: string
  readonly depends_on?: Readonly<Record<string, unknown>>
}

describe("compose.yaml", () => {
  const text = read("infra/docker/compose.yaml")
  const { services } = parse(text) as {
    services: Readonly<Record<"redis" | "gateway" | "relay" | "varnish", Service>>
  }
  const { redis, gateway, relay, varnish } = services
  const config = parseConfig(composeConfig)
  const all = Object.entries(services)

  /** With the default of each variable that has one. */
  const filled = (value: string) => value.replaceAll(/\$\{\w+:-([^}]*)\}/g, "$1")
  const mounts = all.flatMap(([, { volumes = [] }]) => volumes.map((volume) => filled(volume).split(":")))
  const containerPorts = all.flatMap(([, { ports = [] }]) =>
    ports.map((port) => Number(port.split(":").at(-1))),
  )

  it("mounts and builds files that are there", () => {
    const files = mounts.map(([source = ""]) => source).filter((source) => source.startsWith("."))
    expect(files).toHaveLength(4)
    for (const file of files) expect(existsSync(resolve(docker, file)), file).toBe(true)
    for (const { build } of [gateway, relay]) {
      expect(resolve(docker, build!.context)).toBe(root)
      expect(existsSync(join(root, build!.dockerfile))).toBe(true)
    }
  })

  it("gives every variable a meaning, and every meaning a variable", () => {
    const header = text.slice(0, text.indexOf("\nname:"))
    const used = allIn(text, /(?<!\$)\$\{(\w+)/g)
    const documented = allIn(header, /^# {3}([A-Z0-9_]+)(?:$| {2,})/gm)
    expect([...new Set(used)].toSorted()).toEqual(documented.toSorted())
  })

  it("has no secret in it: each comes from outside, or it does not start", () => {
    for (const [, { environment = {} }] of all) {
      for (const [name, value] of Object.entries(environment)) {
        if (/PASSWORD|TOKEN|SECRET|REDIS_URL/.test(name)) expect(value, name).toMatch(/\$\{\w+:\?/)
      }
    }
  })

  it("sets what the parts read", () => {
    const sources = globSync("relay-node/**/*.ts", { cwd: root })
      .map((file) => read(file))
      .join("\n")
    const secrets = secretsOf(config, "tokens", "targets")
    for (const { environment } of [gateway, relay]) {
      for (const name of Object.keys(environment!))
        expect(secrets.includes(name) || sources.includes(name), name).toBe(true)
    }
    // Else the relay of a first `up` would refuse to start.
    expect(Object.keys(relay.environment!)).toEqual(expect.arrayContaining(["REDIS_URL", ...secrets]))
    expect(Object.keys(gateway.environment!)).toEqual(["REDIS_URL", "UPSTASH_REDIS_REST_TOKEN"])
  })

  it("publishes the ports that the parts listen on", () => {
    const varnishPort = Number(varnish.environment!["VARNISH_HTTP_PORT"])
    expect(containerPorts.toSorted((a, b) => a - b)).toEqual([varnishPort, RELAY_PORT, GATEWAY_PORT])
    expect(config.targets["www-varnish"]).toMatchObject({ endpoints: [`http://127.0.0.1:${varnishPort}`] })
  })

  it("starts the gateway by a command that there is", () => {
    expect(PARTS).toContain(gateway.command?.[0])
    expect(relay.command).toBeUndefined()
  })

  it("lets the relay purge as loopback, which is all that the VCL admits", () => {
    expect(relay.network_mode).toBe("service:varnish")
    expect(relay.depends_on).toHaveProperty("varnish.restart", true)
    const [, purgers = ""] = /acl tidemark_purgers \{([^}]*)\}/.exec(read("infra/varnish/tidemark.vcl")) ?? []
    expect(purgers).toContain('"127.0.0.1"')
    expect(purgers).not.toContain("/")
  })

  it("gives Varnish the site that its VCL names, and room for long lists of keys", () => {
    const [, host] = /\.host = "(\w+)"/.exec(read("infra/varnish/default.vcl")) ?? []
    expect(varnish.extra_hosts?.map((entry) => entry.split(":")[0])).toEqual([host])
    const vcl = read("infra/varnish/tidemark.vcl")
    // "`-p a=1k …`, and pages with as many keys the same of `b`, `c` and `d`"
    const parameters = [...allIn(vcl, /(\w+)=\d+k/g), ...allIn(vcl, /`(http_resp_\w+|workspace_backend)`/g)]
    const given = varnish.command?.filter((arg) => arg !== "-p").map((arg) => arg.replace(/=.*/, ""))
    expect(given?.toSorted()).toEqual(parameters.toSorted())
  })

  describe("Redis's own command", () => {
    const passwords: Readonly<Record<string, string>> = {
      PUBLISHER_PASSWORD: "one",
      READER_PASSWORD: "two",
      RELAY_PASSWORD: "three",
    }
    let directory: string
    let args: readonly string[]

    beforeAll(async () => {
      directory = await mkdtemp(join(tmpdir(), "tidemark-compose-"))
      const acl = mounts.find(([, target]) => target === "/etc/tidemark/users.acl")?.[0] ?? ""
      const script = redis
        .command!.at(-1)!
        .replaceAll("$$", "$")
        .replaceAll("/tmp/users.acl", join(directory, "users.acl"))
        .replaceAll("/etc/tidemark/users.acl", resolve(docker, acl))
      // The image's entry point, which drops root and runs what it is given: here it tells what that is.
      await writeFile(join(directory, "docker-entrypoint.sh"), "#!/bin/sh\nprintf '%s\\n' \"$@\"\n", {
        mode: 0o755,
      })
      const env = { ...passwords, PATH: `${directory}:${process.env["PATH"]}` }
      const told = execFileSync("sh", [...redis.command!.slice(1, -1), script], { env, encoding: "utf8" })
      args = told.trim().split("\n")
    })

    afterAll(() => rm(directory, { recursive: true, force: true }))

    it("puts the passwords' hashes in place of all placeholders", () => {
      const users = readFileSync(join(directory, "users.acl"), "utf8")
      expect(users).not.toContain("SHA256")
      for (const password of Object.values(passwords)) {
        expect(users).toContain(`#${createHash("sha256").update(password).digest("hex")} `)
      }
    })

    it("starts a Redis that the gateway's and the relay's addresses open", async () => {
      const [program, ...rest] = args
      expect(program).toBe("redis-server")
      const server = await startRedis({ args: rest })
      try {
        for (const { environment } of [gateway, relay]) {
          const template = environment?.["REDIS_URL"] ?? ""
          const withPassword = template.replace(
            /\$\{(\w+):[^}]*\}/,
            (_, name: string) => passwords[name] ?? "",
          )
          const url = withPassword.replace("redis:6379", `127.0.0.1:${server.port}`)
          const upstream = connectUpstream(url, { info: () => {}, warn: () => {}, error: () => {} })
          await upstream.tried
          expect(await upstream.exchange([["GET", "tm:{default}:head"]], {})).toEqual([null])
          upstream.close()
        }
      } finally {
        await server.stop()
      }
    })
  })
})
