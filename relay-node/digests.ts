import { createHash, createHmac, createSecretKey, type KeyObject } from "node:crypto"
import type { Digests } from "../protocol/bytes.ts"

const keys = new WeakMap<Uint8Array, KeyObject>()

/** As a key: told by plain bytes, Node 24 spends three quarters of a digest on finding out that they are none. */
function keyOf(secret: Uint8Array): KeyObject {
  const key = keys.get(secret) ?? createSecretKey(secret)
  keys.set(secret, key)
  return key
}

/** Node's WebCrypto asks another thread, which takes ten times as long for what is as small as ours. */
export const nodeDigests: Digests = {
  sha256: (bytes) => new Uint8Array(createHash("sha256").update(bytes).digest()),
  hmac: (hash, secret, data) =>
    new Uint8Array(createHmac(hash.replace("-", ""), keyOf(secret)).update(data).digest()),
}
