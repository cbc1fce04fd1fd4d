import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { expect, it } from "vitest"
import { stage } from "./stage.ts"

it("exits 2 and names every secret that is missing", async () => {
  const { config, relay } = await stage()
  const tokens = [
    ...(config.tokens ?? []),
    { name: "deploy", sha256: { secret: "DEPLOY_TOKEN_SHA256" }, scopes: ["read:*"] },
  ]
  const one = await relay({ config: { ...config, tokens }, env: {} })
  expect(await one.exited).toBe(2)
  expect(one.stdout()).toBe("")
  expect(one.stderr()).toContain("no CLOUDFLARE_PURGE_TOKEN (targets.www-cloudflare.token)")
  expect(one.stderr()).toContain("no DEPLOY_TOKEN_SHA256 (tokens.3.sha256)")
  expect(one.stderr().trim().split("\n")).toHaveLength(1)
})

it("exits 2 and names every mistake at once, by its path and without a value", async () => {
  const { config, relay } = await stage()
  const wrong = {
    ...config,
    tokens: [
      {
        name: "deploy",
        sha256: "tm_a-token-that-was-put-here-by-mistake",
        scopes: ["publish:*", "rule-the-world"],
      },
    ],
    namespaces: { "blog//posts": {} },
    targets: {
      edge: {
        type: "cloudflare",
        zone: "not-a-zone-at-all",
        token: "cf-a-token-in-the-open",
        plan: "pro",
        namespaces: ["*"],
      },
    },
    surprise: { any: "value-of-a-surprise" },
  }
  const one = await relay({ config: wrong })
  expect(await one.exited).toBe(2)
  expect(one.stdout()).toBe("")
  for (const path of [
    "tokens.0.sha256",
    "tokens.0.scopes.1",
    "namespaces.blog//posts",
    "targets.edge.zone",
    "targets.edge.token",
    "surprise",
  ]) {
    expect(one.stderr()).toContain(`${path}: `)
  }
  for (const value of ["tm_a-token", "rule-the-world", "not-a-zone", "cf-a-token", "value-of-a-surprise"]) {
    expect(one.stderr()).not.toContain(value)
  }
})

// It crashed with a stack instead, and an exit code of 1.
it("exits 2 and names every target whose secret its driver does not take", async () => {
  const { config, vendor, secrets, relay } = await stage()
  const targets = {
    ...config.targets,
    hook: { type: "http", url: vendor.hookUrl, secret: { secret: "HOOK_SECRET" }, namespaces: ["*"] },
  }
  const one = await relay({
    config: { ...config, targets },
    env: { ...secrets, HOOK_SECRET: "no-webhook-secret", CLOUDFLARE_PURGE_TOKEN: "two words" },
  })
  expect(await one.exited).toBe(2)
  expect(one.stderr()).toMatch(/targets\.www-cloudflare: .*targets\.hook: secret is not whsec_/)
  expect(one.stderr()).not.toMatch(/no-webhook-secret|two words/)
})

it("exits 2 and names every secret that cannot be right, beside those that are missing", async () => {
  const { config, secrets, relay } = await stage()
  const tokens = ["A", "B"].map((name) => ({
    name: name.toLowerCase(),
    sha256: { secret: `${name}_SHA256` },
    scopes: ["read:*"],
  }))
  const one = await relay({
    config: { ...config, tokens },
    env: { ...secrets, A_SHA256: "tm_sesame-open-up", CLOUDFLARE_PURGE_TOKEN: "sesame\n" },
  })
  expect(await one.exited).toBe(2)
  expect(one.stdout()).toBe("")
  expect(one.stderr()).toContain("no B_SHA256 (tokens.1.sha256) in the environment")
  expect(one.stderr()).toMatch(/tokens\.0: sha256 holds a token, .* \(A_SHA256\)/)
  expect(one.stderr()).toContain(
    "targets.www-cloudflare: token begins or ends with white space (CLOUDFLARE_PURGE_TOKEN)",
  )
  expect(one.stderr()).not.toContain("sesame")
})

it("exits 2 where a name refers to nothing", async () => {
  const { config, relay } = await stage()
  const notify = { oncall: { url: "https://hooks.example.com", secret: { secret: "N" }, events: ["faild"] } }
  const targets = { p: { type: "print", namespaces: ["blgo"] } }
  const one = await relay({ config: { ...config, targets, notify } })
  expect(await one.exited).toBe(2)
  expect(one.stdout()).toBe("")
  expect(one.stderr()).toContain(
    "targets.p.namespaces.0: names what is not declared in namespaces; did you mean blog?",
  )
  expect(one.stderr()).toContain("notify.oncall.events.0: is no event")
})

it("exits 2 where there is no Redis to be told, no file, or no number for a port", async () => {
  const { redis, config, secrets, relay } = await stage()
  const cases: [Parameters<typeof relay>[0], RegExp][] = [
    [{ redisUrl: "" }, /REDIS_URL is not set/],
    [{ env: { ...secrets, TIDEMARK_CONFIG: "/nonexistent/tidemark.config.ts" } }, /could not be read/],
    [{ env: { ...secrets, TIDEMARK_RELAY_PORT: "http" } }, /TIDEMARK_RELAY_PORT must be/],
    [
      { env: { ...secrets, TIDEMARK_DEV_TOKEN_SHA256: "0".repeat(64), TIDEMARK_HOST: "0.0.0.0" } },
      /on loopback only/,
    ],
  ]
  for (const [options, sentence] of cases) {
    const one = await relay({ redisUrl: redis.url, config, ...options })
    expect(await one.exited).toBe(2)
    expect(one.stderr()).toMatch(sentence)
  }
})

it("exits 2 with a sentence where its port is taken", async () => {
  const { relay } = await stage()
  const other = createServer((_, response) => response.writeHead(404).end())
  await new Promise<void>((listening) => other.listen(0, "127.0.0.1", listening))
  const { port } = other.address() as AddressInfo
  try {
    const one = await relay({ port })
    expect(await one.exited).toBe(2)
    expect(one.stderr()).toContain(
      `port ${port} is taken: set TIDEMARK_RELAY_PORT to another, or to 0 for any free one`,
    )
    expect(one.stdout()).toBe("")
  } finally {
    other.closeAllConnections()
    other.close()
  }
})
