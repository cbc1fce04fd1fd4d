import { mkdirSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { describe, expect, it, vi } from "vitest"
import { CliError } from "./exit.ts"
import { connectionOf } from "./options.ts"
import { fakeWorker } from "./testing/fake-worker.ts"
import { ID, problemOf, recordOf } from "./testing/records.ts"
import { folder, run, TOKEN } from "./testing/run.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

const request = { method: "GET", path: `/v1/invalidations/${ID}`, answer: recordOf() } as const

function write(path: string, text: string): string {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
  return path
}

describe("the token", () => {
  it("comes from --token-file first, then TIDEMARK_TOKEN, then dev's own beside the configuration or here", async () => {
    await using here = await folder()
    await using there = await folder()
    const file = write(join(here.path, "deploy.token"), "tm_file\n")
    const config = join(there.path, "tidemark.config.ts")
    write(join(here.path, ".tidemark/dev.token"), "tm_here\n")
    write(join(there.path, ".tidemark/dev.token"), "tm_there\n")
    const cases = [
      {
        token: "tm_file",
        args: ["--token-file", file],
        env: { TIDEMARK_TOKEN: "tm_env", TIDEMARK_CONFIG: config },
      },
      { token: "tm_env", args: ["--config", config], env: { TIDEMARK_TOKEN: "tm_env" } },
      { token: "tm_there", args: ["--config", config], env: {} },
      { token: "tm_there", args: [], env: { TIDEMARK_CONFIG: config, TIDEMARK_TOKEN: "" } },
      { token: "tm_here", args: [], env: {} },
      { token: "tm_here", args: ["--config", join(there.path, "below/tidemark.config.ts")], env: {} },
    ]
    for (const { token, args, env } of cases) {
      await using worker = await fakeWorker(token, [request])
      const result = await run(["status", ID, ...args], {
        cwd: here.path,
        env: { TIDEMARK_URL: worker.url, ...env },
      })
      expect(worker.complaints()).toEqual([])
      expect(result.code).toBe(0)
    }
  })

  it("of dev is shown to loopback only", async () => {
    await using there = await folder()
    write(join(there.path, ".tidemark/dev.token"), "tm_there\n")
    const config = join(there.path, "tidemark.config.ts")
    const tokenAt = (url: string) => connectionOf({ url, config }, "worker", {}).token
    expect(tokenAt("http://localhost:8787")).toBe("tm_there")
    expect(tokenAt("http://[::1]:8787")).toBe("tm_there")
    expect(tokenAt("https://edge.example.com")).toBeUndefined()
    expect(tokenAt("http://127.0.0.1.example.com")).toBeUndefined()
  })

  it("is left out where there is none, and the refusal says where it is looked for", async () => {
    await using here = await folder()
    const answer = problemOf(401, "unauthorized", "Send Authorization: Bearer and a token.")
    await using worker = await fakeWorker(undefined, [{ ...request, status: 401, answer }])
    const { code, stderr } = await run(["status", ID], { cwd: here.path, env: { TIDEMARK_URL: worker.url } })
    expect(worker.complaints()).toEqual([])
    expect(code).toBe(4)
    expect(stderr).toContain("no token was sent: set TIDEMARK_TOKEN or --token-file")
  })

  it("that is refused is named by where it came from", async () => {
    const answer = problemOf(401, "unauthorized", "The token is not known, or no longer valid.")
    await using worker = await fakeWorker(TOKEN, [{ ...request, status: 401, answer }])
    const { stderr } = await run(["status", ID], { env: { TIDEMARK_URL: worker.url, TIDEMARK_TOKEN: TOKEN } })
    expect(stderr).toContain("the token is the one from TIDEMARK_TOKEN")
    expect(stderr).not.toContain(TOKEN)
  })
})

describe("addresses", () => {
  it("have the ports of development as their default", () => {
    expect(connectionOf({}, "worker", {}).url.href).toBe("http://127.0.0.1:8787/")
    expect(connectionOf({}, "relay", {}).url.href).toBe("http://127.0.0.1:8788/")
    const env = {
      TIDEMARK_URL: "https://edge.example.com/tm",
      TIDEMARK_RELAY_URL: "https://relay.example.com",
    }
    expect(connectionOf({}, "worker", env).url.href).toBe("https://edge.example.com/tm/")
    expect(connectionOf({}, "relay", env).url.href).toBe("https://relay.example.com/")
  })

  it("are no list of selectors", () => {
    const env = { TIDEMARK_URL: "https://edge.example.com" }
    const { url } = connectionOf({ url: ["https://www.example.com/blog/a"] }, "worker", env)
    expect(url.href).toBe("https://edge.example.com/")
  })

  it.for([
    "edge.example.com",
    "ftp://edge.example.com",
    "https://me:pw@edge.example.com",
    "https://e.com/?a=b",
  ])("cannot be %s", (url) => {
    expect(() => connectionOf({ url }, "worker", {})).toThrow(CliError)
    expect(() => connectionOf({}, "worker", { TIDEMARK_URL: url })).toThrow(
      /^TIDEMARK_URL must be an http or https URL/,
    )
  })
})
