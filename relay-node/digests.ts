import { createHash, createHmac } from "node:crypto"
import type { Digests } from "../protocol/bytes.ts"

/** Node's WebCrypto asks another thread, which takes ten times as long for what is as small as ours. */
export const nodeDigests: Digests = {
  sha256: (bytes) => new Uint8Array(createHash("sha256").update(bytes).digest()),
  hmac: (hash, secret, data) =>
    new Uint8Array(createHmac(hash.replace("-", ""), secret).update(data).digest()),
}
