import { describe, expect, it, vi } from "vitest"
import { nobody } from "./testing/fake-worker.ts"
import { ID, LETTER } from "./testing/records.ts"
import { run } from "./testing/run.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

const NOBODY = await nobody()

describe("exit 2, wrong usage", () => {
  it.for(
    [
      [],
      ["nope"],
      ["nope", "--help"],
      ["dead", "nope", "-h"],
      ["help", "nope"],
      ["--nope"],
      ["token"],
      ["token", "nope"],
      ["relay", "--nope"],
      ["gateway", "--nope"],
      ["dev", "--nope"],
      ["demo", "--break", "everything"],
      ["publish", "blog", "--nope"],
      ["publish", "blog", "more"],
      ["publish"],
      ["publish", "blog", "--everything"],
      ["publish", "blog", "--mode", "gently"],
      ["publish", "blog", "--wait", "soon"],
      ["publish", "blog", "--wait", "0"],
      ["publish", "blog", "--settle", "soon"],
      ["publish", "blog", "--url", "not-a-url"],
      ["publish", "blog", "--mode", "purge", "--stale-for", "5m"],
      ["publish", "blog", "--idempotency-key", "ü"],
      ["publish", "blog", "--worker", "not-a-url"],
      ["publish", "blog", "--worker", "ftp://127.0.0.1"],
      ["publish", "blog", "--token-file", "/nowhere/at-all"],
      ["status"],
      ["status", "the-last-one"],
      ["status", ID, "--timeout", "x"],
      ["log", "--limit", "0"],
      ["log", "--limit", "1001"],
      ["log", "--before", "yesterday"],
      ["log", "--before", "1", "--after", "1"],
      ["log", "--ns", "blog/*"],
      ["tail", "--lines", "-1"],
      ["epochs"],
      ["epochs", "b l o g"],
      ["lanes", "more"],
      ["lanes", "--worker", "http://127.0.0.1:1"],
      ["dead"],
      ["dead", "list", "Not-a-target"],
      ["dead", "list", "www/../varnish"],
      ["dead", "list", "www-varnish", "--after", "yesterday"],
      ["dead", "list", "www-varnish", "--limit", "10001"],
      ["dead", "list", "--after", LETTER],
      ["dead", "show", "www-varnish"],
      ["dead", "show", "www-varnish", "1795272188595"],
      ["dead", "show", "Not-a-target", LETTER],
      ["dead", "replay", "www-varnish"],
      ["dead", "replay", "www-varnish", LETTER, "--all"],
      ["dead", "replay", "www-varnish", "-"],
      ["dead", "replay", "www-varnish", "--wait", LETTER],
      ["dead", "delete", "www-varnish"],
      ["dead", "delete", "www-varnish", `${LETTER}/replay`],
      ["resync", "bl og"],
      ["resync", "--wait", "blog"],
      ["drain", "www-varnish"],
      // Nobody can be asked here.
      ["publish", "--everything"],
      ["resync"],
      ["resync", "blog", "--wait"],
      ["drain"],
      ["dead", "delete", "www-varnish", LETTER],
      ["token", "create", "deploy"],
      ["token", "create", "Deploy", "--scope", "read:*"],
      ["config", "check", "--config", "/nowhere/tidemark.config.ts"],
    ].map((args) => ({ args })),
  )("$args", async ({ args }) => {
    const { code, stdout, stderr } = await run(args, {
      env: { TIDEMARK_URL: NOBODY, TIDEMARK_RELAY_URL: NOBODY },
    })
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" })
    expect(stderr).not.toBe("")
    expect(stderr).not.toMatch(/^\s+at /m)
  })

  it("an address with credentials, which are not repeated", async () => {
    const result = await run(["log"], { env: { TIDEMARK_URL: "http://me:hidden@127.0.0.1:1" } })
    expect(result).toMatchObject({ code: 2, stdout: "" })
    expect(result.stderr).toContain("TIDEMARK_URL")
    expect(result.stderr).not.toContain("hidden")
  })

  it("a token that no header can hold, which is not repeated", async () => {
    const result = await run(["log", "--json"], {
      env: { TIDEMARK_URL: NOBODY, TIDEMARK_TOKEN: "tm_hidden\nand more" },
    })
    expect(result.code).toBe(2)
    expect(JSON.parse(result.stdout)).toMatchObject({ code: "usage" })
    expect(result.stdout + result.stderr).not.toContain("hidden")
  })
})
