import { expect, test } from "vitest"
import { hmac, sha256, utf8 } from "../protocol/bytes.ts"
import { nodeDigests } from "./digests.ts"

test("Node's digests are those of WebCrypto", async () => {
  for (const text of ["", "a", "é".repeat(1_000)]) {
    const data = utf8(text)
    expect(nodeDigests.sha256(data)).toEqual(await sha256(data))
    for (const hash of ["SHA-1", "SHA-256"] as const)
      expect(nodeDigests.hmac(hash, utf8("secret"), data)).toEqual(await hmac(hash, utf8("secret"), data))
  }
})
