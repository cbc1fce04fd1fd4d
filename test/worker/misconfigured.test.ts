// Whoever set a Worker up was told what it misses in three waves, a deploy each.
import { describe, expect, it } from "vitest"
import { secret } from "../../protocol/config/define.ts"
import type { ConfigInput } from "../../protocol/config/schema.ts"
import { createWorker } from "../../worker/index.ts"

const STORE = { UPSTASH_REDIS_REST_URL: "http://127.0.0.1:1", UPSTASH_REDIS_REST_TOKEN: "token" }

interface Told {
  readonly code: string
  readonly detail: string
}

async function ask(config: ConfigInput, bindings: object, request: Request) {
  const response = await createWorker(config).fetch(request, bindings)
  return { status: response.status, ...((await response.json()) as Told) }
}

describe("what a Worker misses", () => {
  const config: ConfigInput = {
    tokens: ["deploy", "ops"].map((name) => ({
      name,
      sha256: secret(`${name.toUpperCase()}_TOKEN_SHA256`),
      scopes: ["read:*"],
    })),
    namespaces: { blog: {} },
    sources: { cms: { type: "contentful", secret: [secret("OLD"), secret("NEW")], namespace: "blog" } },
    targets: {
      hook: { type: "http", url: "https://hooks.example.com", secret: secret("HOOK"), namespaces: ["*"] },
    },
  }
  const all = ["DEPLOY_TOKEN_SHA256", "OPS_TOKEN_SHA256", "OLD", "NEW", ...Object.keys(STORE)]
  const told = async (bindings: object) => {
    const { status, code, detail } = await ask(config, bindings, new Request("https://w.example/v1/epochs"))
    expect({ status, code }).toEqual({ status: 503, code: "misconfigured" })
    return detail
  }

  it("is told at once: hashes, secrets of sources, and both of the store", async () => {
    expect(await told({})).toBe(`The Worker has no binding for ${all.join(", ")}.`)
    expect(await told(Object.fromEntries(all.map((name) => [name, ""])))).toContain(all.join(", "))
  })

  it.for(all)("is %s alone, where it has the others", async (missing) => {
    const held = Object.fromEntries(all.filter((name) => name !== missing).map((name) => [name, "x"]))
    expect(await told(held)).toBe(`The Worker has no binding for ${missing}.`)
  })

  it.each(["https://jo:CANARY@x.upstash.io", "https://x.upstash.io/?_token=CANARY", "CANARY"])(
    "is an address of the store that others may see, as %s is not",
    async (url) => {
      const held = { ...Object.fromEntries(all.map((name) => [name, "x"])), UPSTASH_REDIS_REST_URL: url }
      const detail = await told(held)
      expect(detail).toMatch(/^UPSTASH_REDIS_REST_URL must be an http or https URL/)
      expect(detail).not.toContain("CANARY")
    },
  )

  it("is no credential of a target, which the relay calls", async () => {
    expect(await told({})).not.toContain("HOOK")
  })
})
