import { describe, expect, it } from "vitest"
import rfc from "../../test/fixtures/rfc7515-rs256.json" with { type: "json" }
import { importKey, readPem, rs256, signJwt } from "./jwt.ts"

const PEM = `-----BEGIN PRIVATE KEY-----\n${rfc.pkcs8.replaceAll(/(.{64})/g, "$1\n")}\n-----END PRIVATE KEY-----\n`

async function keyOf(pem: string): Promise<CryptoKey> {
  const bytes = readPem(pem)
  if (!bytes) throw new Error("no PEM")
  return importKey(bytes)
}

describe("RS256", () => {
  it("is what RFC 7515 has in its appendix A.2", async () => {
    expect(await rs256(rfc.input, await keyOf(PEM))).toBe(rfc.signature)
  })

  it("signs header and claims as they are sent", async () => {
    const token = await signJwt({ kid: "k1" }, { iss: "joe" }, await keyOf(PEM))
    const [header = "", claims = "", signature] = token.split(".")
    expect([header, claims].map((part) => JSON.parse(atob(part)) as unknown)).toEqual([
      { alg: "RS256", typ: "JWT", kid: "k1" },
      { iss: "joe" },
    ])
    expect(signature).toBe(await rs256(`${header}.${claims}`, await keyOf(PEM)))
  })
})

describe("a PEM", () => {
  it.each([
    "",
    rfc.pkcs8,
    PEM.replace("-----END", "----END"),
    PEM.replaceAll("PRIVATE KEY", "PUBLIC KEY"),
    PEM.replaceAll("PRIVATE KEY", "RSA PRIVATE KEY"),
    "-----BEGIN PRIVATE KEY-----\na\n-----END PRIVATE KEY-----",
  ])("is not %#", (text) => expect(readPem(text)).toBeUndefined())

  it("that is no RSA key is not imported", async () => {
    await expect(keyOf("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----")).rejects.toThrow()
  })
})
