import {
  concatBytes,
  constantTimeEqual,
  fromBase64,
  hmac,
  parseJsonBytes,
  toHex,
  utf8,
} from "../../protocol/bytes.ts"
import { compact } from "../../protocol/invalidation.ts"
import { type Milliseconds, MINUTE, SECOND } from "../../protocol/time.ts"
import { find, text, texts } from "../rules/pointer.ts"
import {
  ignored,
  invalid,
  objectOf,
  oneEvent,
  secretsOf,
  timely,
  unreadable,
  verifyCarried,
} from "./checks.ts"
import type {
  Delivery,
  EventKind,
  Reading,
  SourceAdapter,
  SourceContext,
  SourceEvent,
  Verification,
  Verified,
} from "./source.ts"

/**
 * Contentstack: HMAC-SHA256 by an organisation's secret over `t.body`, or RSA-PSS by the platform's key over the body.
 * Which of them counts is said by the secret alone, a text or a public key; with `auth` neither, but a secret that the
 * delivery carries.
 *
 * What an event is, unless `fields` say otherwise:
 *
 * - `topic`        module and event, such as `entry.publish`
 * - `kind`         by the event; what is only saved, begun or failed is ignored, except of the model
 * - `type`         the uid of an entry's content type; `asset` for assets. Of a changed content type its own uid
 * - `id`           of the entry or asset. A change of the model has none: it concerns everything
 * - `slug`         an entry's `url`, which is a path
 * - `locale`, `version`, `tags`  `locale`, `_version` and `tags` of the entry
 * - `environment`  the name of the one that it was published to
 *
 * @see https://www.contentstack.com/docs/headless-cms/secure-your-webhooks
 */

const HMAC_SIGNATURE = "x-contentstack-hmac-signature"
const KEY_SIGNATURE = "x-contentstack-request-signature"

/** Ours, not theirs: a signature costs a verification, and whoever sends it is not known yet. */
const MAX_SIGNATURES = 8

const SECONDS = /^[1-9]\d{9}$/

/** The last of its attempts starts 780 s after the first, and each may last 30 s; the body tells the time of the event. */
const TRIES_FOR: Milliseconds = 16 * MINUTE

const SALT_BYTES = 32

/** The values of a header's members of one name: `t=1,v1=a,v1=b`. */
const membersOf = (header: string, name: string): string[] =>
  header
    .split(",", MAX_SIGNATURES)
    .map((member) => member.trim())
    .flatMap((member) => (member.startsWith(`${name}=`) ? [member.slice(name.length + 1)] : []))

/** `AlgorithmIdentifier` of a plain RSA key. */
const RSA_ALGORITHM = [
  0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
]
const SEQUENCE = 0x30
const INTEGER = 0x02
const BIT_STRING = 0x03
const LONG_FORM = 0x80

/** A value of DER. No key is longer than two bytes of length say. */
function der(tag: number, ...content: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const value = concatBytes(...content)
  const { length } = value
  const lengthBytes = length < LONG_FORM ? [length] : [LONG_FORM | 2, length >> 8, length & 0xff]
  return concatBytes(Uint8Array.of(tag, ...lengthBytes), value)
}

/** WebCrypto takes no RSA key but as `SubjectPublicKeyInfo`; Contentstack publishes the bare one of PKCS 1. */
function asPublicKeyInfo(key: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const lengthByte = key[1] ?? 0
  const first = key[2 + (lengthByte < LONG_FORM ? 0 : lengthByte - LONG_FORM)]
  if (key[0] !== SEQUENCE || first !== INTEGER) return key
  return der(SEQUENCE, Uint8Array.from(RSA_ALGORITHM), der(BIT_STRING, Uint8Array.of(0), key))
}

/** The base64 of a public key, as PEM or bare; undefined for a secret of another kind. */
function publicKeyText(secret: string): string | undefined {
  // As it stands in JSON, and as environments without line ends have it.
  const lines = secret.replaceAll(String.raw`\n`, "\n").trim()
  const packed = lines.replaceAll(/-----[A-Z ]+-----|\s/g, "")
  const isKey = lines.startsWith("-----") || /^MI[A-Za-z0-9+/]{200,}={0,2}$/.test(packed)
  return isKey ? packed : undefined
}

async function importPublicKey(base64: string): Promise<CryptoKey | undefined> {
  const bytes = fromBase64(base64)
  if (!bytes) return undefined
  try {
    const algorithm = { name: "RSA-PSS", hash: "SHA-256" }
    return await crypto.subtle.importKey("spki", asPublicKeyInfo(bytes), algorithm, false, ["verify"])
  } catch {
    return undefined
  }
}

/** When the event happened, as the body tells. */
function triggeredAt(body: unknown): Milliseconds | undefined {
  const at = Date.parse(text(body, "/triggered_at") ?? "")
  return Number.isNaN(at) ? undefined : at
}

/** There is no id. Where the body tells its time, it is the same for every attempt, and another for every event. */
const identify = (signature: string, at: Milliseconds | undefined): Verified =>
  at === undefined
    ? { verdict: "verified", deliveryId: signature, replay: "delivery-id" }
    : { verdict: "verified", replay: "body-hash" }

async function verifyByHmac(
  { headers, body }: Delivery,
  secret: string,
  context: SourceContext,
): Promise<Verification | undefined> {
  const header = headers.get(HMAC_SIGNATURE) ?? ""
  const [timestamp = "", ...others] = membersOf(header, "t")
  if (!SECONDS.test(timestamp) || others.length > 0) return undefined
  const mac = toHex(await hmac("SHA-256", utf8(secret), concatBytes(utf8(`${timestamp}.`), body)))
  const signed = membersOf(header, "v1").some((each) => constantTimeEqual(each, mac))
  if (!signed) return undefined
  return timely(Number(timestamp) * SECOND, context, identify(mac, triggeredAt(parseJsonBytes(body))))
}

async function verifyByKey(
  { headers, body }: Delivery,
  publicKey: string,
  context: SourceContext,
): Promise<Verification | undefined> {
  const key = await importPublicKey(publicKey)
  if (!key) return undefined
  const json = parseJsonBytes(body)
  // The vendor's examples verify now the bytes, now the JSON written anew: what a proxy may have spaced differently.
  const plain: unknown = json === undefined ? undefined : JSON.parse(new TextDecoder().decode(body))
  // Not of `json`, in which long numbers are texts.
  const written = plain === undefined ? body : utf8(JSON.stringify(plain))
  const signable = constantTimeEqual(body, written) ? [body] : [body, written]
  for (const signature of membersOf(headers.get(KEY_SIGNATURE) ?? "", "v1")) {
    const bytes = fromBase64(signature)
    if (!bytes) continue
    for (const signed of signable) {
      const algorithm = { name: "RSA-PSS", saltLength: SALT_BYTES }
      if (!(await crypto.subtle.verify(algorithm, key, bytes, signed))) continue
      const at = triggeredAt(json)
      const verified = identify(signature, at)
      if (at === undefined) return verified
      const now = context.now()
      return timely(at > now ? at : Math.min(now, at + TRIES_FOR), context, verified)
    }
  }
  return undefined
}

/** What an event makes visible. undefined: nothing, as it is only saved, or not done. */
function kindOf(event: string): EventKind | undefined {
  const [action = "", stage] = event.split(".")
  if (stage === "start" || stage === "fail") return undefined
  switch (action) {
    case "create":
    case "update":
      return undefined
    case "publish":
    case "unpublish":
    case "delete":
      return action
    default:
      return "update"
  }
}

/** What assets are in the lists of a release. */
const ASSET_TYPES: ReadonlySet<string> = new Set(["built_io_upload", "sys_assets"])

/** An event for each item of a release that was deployed; of one that lists none, a deploy. */
function readRelease(event: string, data: unknown, topic: string, environment: string | undefined): Reading {
  if (event !== "deploy") return ignored(`${topic} changes nothing published`)
  const events = find(data, "/release/items/*").map((item): SourceEvent => {
    const type = text(item, "/content_type_uid")
    return compact({
      kind: kindOf(text(item, "/action") ?? "") ?? "update",
      type: type !== undefined && ASSET_TYPES.has(type) ? "asset" : type,
      id: text(item, "/uid"),
      locale: text(item, "/locale"),
      version: text(item, "/version"),
      environment,
      topic,
    })
  })
  if (events.length > 0 && events.every(({ id }) => id !== undefined)) return { reading: "events", events }
  // A deploy marks stale, and is what rules ask for: but what was taken back must go.
  const hard = events.find(({ kind }) => kind === "unpublish" || kind === "delete")
  return hard
    ? unreadable("the release does not name every item", hard.kind)
    : oneEvent({ kind: "deploy", environment, topic })
}

export const contentstack: SourceAdapter = {
  type: "contentstack",
  // A key in PEM ends with a line end, and is read without it.

  async verify(delivery, context) {
    if (context.config.auth !== undefined) return verifyCarried(delivery, context)
    for (const secret of secretsOf(context)) {
      const publicKey = publicKeyText(secret)
      // A public key is no secret: nothing may be signed by HMAC with it.
      const verification = await (publicKey === undefined
        ? verifyByHmac(delivery, secret, context)
        : verifyByKey(delivery, publicKey, context))
      if (verification) return verification
    }
    return invalid("No signature is by a secret or a public key of this source.")
  },

  read(said) {
    const body = objectOf(said)
    if (!body) return unreadable()
    const module = text(body, "/module")
    const event = text(body, "/event")
    if (event === undefined) return unreadable("the body names no event")
    if (module === undefined) return unreadable("the body names no module", kindOf(event))
    const topic = `${module}.${event}`
    const { data } = body
    const environment = text(data, "/environment/name")
    const model = { kind: kindOf(event) ?? ("update" as const), isModel: true as const, topic }
    switch (module) {
      case "entry":
      case "asset": {
        const kind = kindOf(event)
        if (!kind) return ignored(`${topic} changes nothing published`)
        const at = (member: string) => text(data, `/${module}/${member}`)
        const id = at("uid")
        if (id === undefined) return unreadable(`the body names no ${module}`, kind)
        const tags = texts(find(data, `/${module}/tags`))
        return oneEvent({
          kind,
          type: module === "asset" ? "asset" : text(data, "/content_type/uid"),
          id,
          locale: text(data, "/locale") ?? at("locale"),
          slug: module === "entry" ? at("url") : undefined,
          version: at("_version"),
          environment,
          topic,
          tags: tags.length > 0 ? tags : undefined,
        })
      }
      case "release":
        return readRelease(event, data, topic, environment)
      case "content_type":
      case "content_types":
      case "content types":
        return oneEvent({ ...model, type: text(data, "/content_type/uid") })
      case "global_field":
      case "taxonomy":
      case "term":
        return oneEvent({ ...model, type: module })
      case "comment":
      case "workflow":
        return ignored(`${topic} changes nothing published`)
      default:
        return unreadable("its module is not known here", kindOf(event))
    }
  },
}
