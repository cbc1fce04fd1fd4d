import { generateKeyPairSync, sign } from "node:crypto"

/** A certificate for one name, signed by itself, with its key: both in PEM. Made here, as no tool of TLS may be there. */
export function selfSigned(name: string): { readonly cert: string; readonly key: string } {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" })
  const dn = sequence(set(sequence(oid("550403"), element(0x0c, Buffer.from(name)))))
  const validity = sequence(time("200101000000Z"), time("491231235959Z"))
  const isAuthority = sequence(oid("551d13"), octets(sequence(element(0x01, Buffer.from([0xff])))))
  const names = sequence(oid("551d11"), octets(sequence(element(0x82, Buffer.from(name)))))
  const spki = publicKey.export({ type: "spki", format: "der" })
  const version = element(0xa0, integer(2))
  const extensions = element(0xa3, sequence(isAuthority, names))
  const body = sequence(version, integer(1), ECDSA_SHA256, dn, validity, dn, spki, extensions)
  const signature = element(0x03, Buffer.concat([Buffer.from([0]), sign("sha256", body, privateKey)]))
  return {
    cert: pem(sequence(body, ECDSA_SHA256, signature)),
    key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  }
}

/** One element of DER: https://www.itu.int/rec/T-REC-X.690 */
function element(tag: number, content: Buffer): Buffer {
  const { length } = content
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...size]), content])
}

const sequence = (...parts: readonly Buffer[]): Buffer => element(0x30, Buffer.concat(parts))
const set = (...parts: readonly Buffer[]): Buffer => element(0x31, Buffer.concat(parts))
const octets = (content: Buffer): Buffer => element(0x04, content)
const integer = (value: number): Buffer => element(0x02, Buffer.from([value]))
const oid = (hex: string): Buffer => element(0x06, Buffer.from(hex, "hex"))
const time = (text: string): Buffer => element(0x17, Buffer.from(text))
const ECDSA_SHA256 = sequence(oid("2a8648ce3d040302"))

const pem = (der: Buffer): string =>
  `-----BEGIN CERTIFICATE-----\n${der.toString("base64").replaceAll(/.{64}/g, "$&\n").trimEnd()}\n-----END CERTIFICATE-----\n`
