import { describe, expect, it } from "vitest"
import { readGatewayEnvironment } from "./environment.ts"

const TOKEN = "a-token-that-is-long-enough-for-any-address"
const needed = { REDIS_URL: "redis://127.0.0.1:6379", UPSTASH_REDIS_REST_TOKEN: TOKEN }

describe("readGatewayEnvironment", () => {
  it("has defaults for the address and the port", () => {
    const expected = {
      redisUrl: "redis://127.0.0.1:6379",
      redisTls: {},
      token: TOKEN,
      host: "127.0.0.1",
      port: 8789,
    }
    expect(readGatewayEnvironment(needed)).toEqual(expected)
    expect(readGatewayEnvironment({ ...needed, TIDEMARK_HOST: "", TIDEMARK_GATEWAY_PORT: "" })).toEqual(
      expected,
    )
  })

  it("takes both from their variables", () => {
    const env = { ...needed, TIDEMARK_HOST: "0.0.0.0", TIDEMARK_GATEWAY_PORT: "0" }
    expect(readGatewayEnvironment(env)).toMatchObject({ host: "0.0.0.0", port: 0 })
  })

  it("names every variable that is missing or wrong, and no value", () => {
    expect(() => readGatewayEnvironment({})).toThrow(
      "REDIS_URL is not set: write redis://[user:password@]host[:port][/database], rediss:// for TLS, " +
        "or unix:///path; " +
        "UPSTASH_REDIS_REST_TOKEN is not set: the gateway asks it of every request",
    )
    const wrong = {
      REDIS_URL: "postgres://hunter2",
      UPSTASH_REDIS_REST_TOKEN: "short",
      TIDEMARK_HOST: "10.0.0.1",
      TIDEMARK_GATEWAY_PORT: "87890",
    }
    expect(() => readGatewayEnvironment(wrong)).toThrow(
      "REDIS_URL has a scheme that is not known here: write redis://[user:password@]host[:port][/database], " +
        "rediss:// for TLS, or unix:///path; " +
        "UPSTASH_REDIS_REST_TOKEN must have 32 characters or more where TIDEMARK_HOST is not loopback; " +
        "TIDEMARK_GATEWAY_PORT is no number from 0 to 65535",
    )
  })

  it("takes a short token on loopback", () => {
    expect(readGatewayEnvironment({ ...needed, UPSTASH_REDIS_REST_TOKEN: "short" }).token).toBe("short")
  })
})
