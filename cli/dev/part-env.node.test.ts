import { expect, it } from "vitest"
import { parseConfig } from "../../protocol/config/config.ts"
import { secret } from "../../protocol/config/define.ts"
import { gatewayEnv, relayEnv, systemEnv, workerSecrets } from "./part-env.ts"

const config = parseConfig({
  tokens: [{ name: "deploy", sha256: secret("DEPLOY_HASH"), scopes: ["read:*"] }],
  namespaces: { blog: {} },
  sources: {
    cms: { type: "contentful", secret: secret("CMS_SECRET"), namespace: "blog" },
    both: { type: "contentful", secret: secret("SHARED"), namespace: "blog" },
  },
  targets: {
    cdn: { type: "fastly", service: "abc", token: secret("CDN_TOKEN"), namespaces: ["*"] },
    hook: { type: "http", url: "https://h.example", secret: secret("SHARED"), namespaces: ["*"] },
  },
})
const vars = {
  DEPLOY_HASH: "1",
  CMS_SECRET: "2",
  CDN_TOKEN: "3",
  SHARED: "4",
  UNRELATED: "5",
}
const env = {
  PATH: "/bin",
  LC_ALL: "C",
  CMS_SECRET: "2",
  CDN_TOKEN: "3",
  AWS_SECRET_ACCESS_KEY: "6",
  SITE: "https://www.example.com",
  UPSTASH_REDIS_REST_TOKEN: "7",
  REDIS_CA_FILE: "ca.pem",
  TIDEMARK_HOST: "0.0.0.0",
}

it("gives the Worker what it verifies by", () =>
  expect(workerSecrets(config, vars)).toEqual({ DEPLOY_HASH: "1", CMS_SECRET: "2", SHARED: "4" }))

it("gives the gateway no secret at all", () => {
  expect(gatewayEnv(env)).toEqual({ PATH: "/bin", LC_ALL: "C" })
  expect(gatewayEnv({ ...env, REDIS_URL: "rediss://h" })).toEqual({
    PATH: "/bin",
    LC_ALL: "C",
    REDIS_CA_FILE: "ca.pem",
  })
  expect(systemEnv({ ...env, NODE_OPTIONS: "-x", Path: "C:" })).toEqual({
    PATH: "/bin",
    LC_ALL: "C",
    NODE_OPTIONS: "-x",
    Path: "C:",
  })
})

it("gives the relay what it calls by, and what the configuration may read", () =>
  expect(relayEnv(config, env, vars)).toEqual({
    PATH: "/bin",
    LC_ALL: "C",
    AWS_SECRET_ACCESS_KEY: "6",
    SITE: "https://www.example.com",
    DEPLOY_HASH: "1",
    CDN_TOKEN: "3",
    SHARED: "4",
  }))
