// Whoever set a Worker up was told what it misses in three waves, a deploy each; and of a secret that was pasted with its
// line end, that the sender signs wrongly.
import { describe, expect, it } from "vitest"
import { SAMPLERS } from "../../cli/source-samples.ts"
import { secret } from "../../protocol/config/define.ts"
import type { ConfigInput } from "../../protocol/config/schema.ts"
import { SOURCE_TRAITS, type SourceType } from "../../protocol/config/source-options.ts"
import { createWorker } from "../../worker/index.ts"

const WHSEC = `whsec_${btoa("0123456789abcdef0123456789abcdef")}`
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

  it("is no credential of a target, which the relay calls", async () => {
    expect(await told({})).not.toContain("HOOK")
  })
})

describe("a delivery that is refused", () => {
  const right: Partial<Record<SourceType, string>> = {
    contentful: "a".repeat(64),
    payload: WHSEC,
    "standard-webhooks": WHSEC,
    svix: WHSEC,
    wordpress: WHSEC,
  }
  const types = (Object.keys(SAMPLERS) as SourceType[]).filter((type) => SAMPLERS[type] !== undefined)

  /** What is answered to a delivery that another secret made. */
  async function refused(type: SourceType, value: string, auth?: string): Promise<string> {
    const config: ConfigInput = {
      namespaces: { blog: {} },
      sources: {
        cms: { type, secret: [secret("OLD"), secret("CMS")], namespace: "blog", ...(auth ? { auth } : {}) },
      },
    }
    const event = {
      kind: "publish" as const,
      type: "post",
      id: "1",
      slug: "a",
      url: "https://www.example.com/a",
    }
    const other = type in right ? (right[type] ?? "").replace("a", "b").replace("Q", "R") : "another-secret"
    const path = "/v1/hooks/cms"
    const sample = await SAMPLERS[type]!({
      sourceType: type,
      event,
      fields: {},
      secret: other,
      path,
      now: Date.now(),
      ...(auth ? { auth } : {}),
    })
    const url = `https://w.example${path}${sample.query === undefined ? "" : `?${sample.query}`}`
    const request = new Request(url, { method: "POST", headers: sample.headers, body: sample.body })
    const bindings = { ...STORE, OLD: right[type] ?? "right", CMS: value }
    const { status, code, detail } = await ask(config, bindings, request)
    expect({ status, code }).toEqual({ status: 401, code: "invalid_signature" })
    expect(detail).not.toContain("OLD")
    expect(detail).not.toContain(value.trim())
    return detail
  }

  it.for(types)(
    "names a secret of %s that was pasted with its line end, and none that is whole",
    async (type) => {
      const auth = SOURCE_TRAITS[type].signed ? undefined : "bearer"
      const value = right[type] ?? "a-secret-of-its-own"
      expect(await refused(type, `${value}\n`, auth)).toContain(" CMS is malformed.")
      expect(await refused(type, value, auth)).not.toContain("malformed")
    },
  )

  it.for<[SourceType, string, string?]>([
    ["standard-webhooks", "no base64!"],
    ["svix", "whsec_"],
    ["payload", "whpk_c2hvcnQ="],
    ["wordpress", "whsec_no base64"],
    ["contentful", "cut-short"],
    ["json", "two words", "bearer"],
  ])("names a secret of %s that no sender gives out", async ([type, value, auth]) => {
    expect(await refused(type, value, auth)).toContain(" CMS is malformed.")
  })
})
