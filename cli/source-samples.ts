import { constants, createHash, createHmac, type KeyObject, randomUUID, sign } from "node:crypto"
import type { SourceConfig } from "../protocol/config/schema.ts"
import { signedPrefix, signWebhook } from "../protocol/standard-webhooks.ts"
import { SECOND, type Milliseconds } from "../protocol/time.ts"
import { type SignedWebhook, signContentful } from "./demo/webhook.ts"
import { CliError } from "./exit.ts"
import * as bodies from "./sample-bodies.ts"
import { type BodyMaker, LOCALE } from "./sample-bodies.ts"

/** Deliveries as senders would make them, for `tidemark source test`. */

/** What can be said to have happened. */
export const SAMPLE_KINDS = ["publish", "update", "unpublish", "delete", "rename"] as const

export type SampleKind = (typeof SAMPLE_KINDS)[number]

/** What a sample says happened. */
export interface SampleEvent {
  readonly kind: SampleKind
  readonly type: string
  readonly id: string
  readonly slug: string
  /** Where it is to be seen. */
  readonly url: string
  /** Of a rename: what it was called, and where it was to be seen. */
  readonly previousSlug?: string
  readonly previousUrl?: string
  /** Where it happened. Default: what the sender calls the usual one. */
  readonly environment?: string
}

export interface SampleRequest {
  readonly sourceType: SourceConfig["type"]
  readonly event: SampleEvent
  /** Where the source's configuration says that variables are found. */
  readonly fields: Readonly<Record<string, string>>
  /** What its sender signs by, or a public key, and then `key` is what belongs to it. */
  readonly secret: string
  readonly key?: KeyObject
  /** Where a delivery carries it, of senders that sign nothing. */
  readonly auth?: string
  /** Of the whole url that the delivery is sent to. */
  readonly path: string
  readonly now: Milliseconds
}

/** As it is sent; `query` where the address carries the secret. */
export interface Sample extends SignedWebhook {
  readonly query?: string
}

/** One type of source: what it sends when something happens, rightly signed. @throws {CliError} `usage`: it sends no such thing */
type Sampler = (request: SampleRequest) => Sample | Promise<Sample>

/** A body, and the headers that a sender makes of it. */
const signedBy =
  (
    make: BodyMaker,
    headersOf: (request: SampleRequest, body: string) => Readonly<Record<string, string>>,
  ): Sampler =>
  (request) => {
    const body = bodyOf(request, make)
    return { headers: { ...JSON_TYPE, ...headersOf(request, body) }, body }
  }

/** Of a sender that signs nothing: the secret stands where `auth` of the configuration says. */
const carriedBy =
  (make: BodyMaker): Sampler =>
  (request) => {
    const { secret, auth = "" } = request
    const [kind = "", name = ""] = auth.split(":")
    const body = bodyOf(request, make)
    const headers = JSON_TYPE
    switch (kind) {
      case "bearer":
        return { headers: { ...headers, authorization: `Bearer ${secret}` }, body }
      case "basic":
        return {
          headers: { ...headers, authorization: `Basic ${Buffer.from(secret).toString("base64")}` },
          body,
        }
      case "header":
        return { headers: { ...headers, [name]: secret }, body }
      case "query":
        return { headers, body, query: new URLSearchParams({ [name]: secret }).toString() }
      case "body":
        return { headers, body: JSON.stringify({ ...(JSON.parse(body) as object), secret }) }
      default:
        throw new CliError("usage", "the source has no auth, and so no delivery is let in")
    }
  }

const mac = (
  algorithm: string,
  { secret }: SampleRequest,
  text: string,
  form: "hex" | "base64" | "base64url",
) => createHmac(algorithm, secret).update(text).digest(form)

/** Signed as the sender does, unless `auth` says that the deliveries carry a secret instead. */
const unlessCarried =
  (make: BodyMaker, signed: Sampler): Sampler =>
  (request) =>
    request.auth === undefined ? signed(request) : carriedBy(make)(request)

/** The sender's own name for what happened. The body was made by the same names, and so is there. */
const nameIn = (names: Readonly<Partial<Record<SampleKind, string>>>, { event }: SampleRequest): string =>
  names[event.kind] ?? names.update ?? names.publish ?? ""

/** How each type of source is sent a sample; undefined for one whose deliveries only its sender can make. */
export const SAMPLERS: Readonly<Record<SourceConfig["type"], Sampler | undefined>> = {
  "adobe-io-events": undefined,
  "builder-io": carriedBy(bodies.builderIo),
  contentful: (request) =>
    signContentful(request.secret, request.path, bodyOf(request, bodies.contentful), request.now, {
      topic: `ContentManagement.Entry.${nameIn(bodies.CONTENTFUL, request)}`,
    }),
  contentstack: unlessCarried(bodies.contentstack, signContentstack),
  datocms: carriedBy(bodies.datocms),
  directus: carriedBy(bodies.directus),
  drupal: carriedBy(bodies.drupal),
  ghost: signedBy(bodies.ghost, (request, body) => ({
    "x-ghost-signature": `sha256=${mac("sha256", request, body + request.now, "hex")}, t=${request.now}`,
  })),
  github: signedBy(bodies.github, (request, body) => ({
    "x-github-event": request.event.kind === "publish" ? "deployment_status" : "push",
    "x-github-delivery": randomUUID(),
    "x-hub-signature-256": `sha256=${mac("sha256", request, body, "hex")}`,
  })),
  hygraph: signedBy(bodies.hygraph, (request, body) => {
    const environment = request.event.environment ?? "master"
    const signed = JSON.stringify({ Body: body, EnvironmentName: environment, TimeStamp: request.now })
    return {
      "gcms-signature": `sign=${mac("sha256", request, signed, "base64")}, env=${environment}, t=${request.now}`,
    }
  }),
  json: carriedBy(bodies.json),
  "kontent-ai": signedBy(bodies.kontentAi, (request, body) => ({
    "x-kontent-ai-signature": mac("sha256", request, body, "base64"),
  })),
  netlify: signedBy(bodies.netlify, (request, body) => ({
    "x-webhook-signature": netlifyToken(request, body),
  })),
  payload: (request) => signStandard(request, bodies.ours),
  prismic: carriedBy(bodies.prismic),
  sanity: unlessCarried(
    bodies.sanity,
    signedBy(bodies.sanity, (request, body) => {
      const signature = mac("sha256", request, `${request.now}.${body}`, "base64url")
      return {
        "sanity-webhook-signature": `t=${request.now},v1=${signature}`,
        "sanity-dataset": request.event.environment ?? "production",
      }
    }),
  ),
  shopify: signedBy(bodies.shopify, (request, body) => ({
    "x-shopify-topic": nameIn(bodies.SHOPIFY, request),
    "x-shopify-event-id": randomUUID(),
    ...(request.event.environment === undefined
      ? {}
      : { "x-shopify-shop-domain": request.event.environment }),
    "x-shopify-hmac-sha256": mac("sha256", request, body, "base64"),
  })),
  "standard-webhooks": (request) => signStandard(request, bodies.standard),
  storyblok: signedBy(bodies.storyblok, (request, body) => ({
    "x-storyblok-topic": `story.${nameIn(bodies.STORYBLOK, request)}`,
    "webhook-signature": mac("sha1", request, body, "hex"),
  })),
  strapi: carriedBy(bodies.strapi),
  svix: (request) => signStandard(request, bodies.standard),
  vercel: signedBy(bodies.vercel, (request, body) => ({
    "x-vercel-signature": mac("sha1", request, body, "hex"),
  })),
  webflow: unlessCarried(
    bodies.webflow,
    signedBy(bodies.webflow, (request, body) => ({
      "x-webflow-timestamp": String(request.now),
      "x-webflow-signature": mac("sha256", request, `${request.now}:${body}`, "hex"),
    })),
  ),
  woocommerce: signedBy(bodies.woocommerce, (request, body) => ({
    "x-wc-webhook-topic": nameIn(bodies.WOOCOMMERCE, request),
    "x-wc-webhook-delivery-id": randomUUID(),
    "x-wc-webhook-signature": mac("sha256", request, body, "base64"),
  })),
  wordpress: (request) =>
    request.secret.startsWith("whsec_") ? signStandard(request, bodies.ours) : signPlugin(request),
}

/** A JWS by HS256 whose claims hold the digest of the body. */
function netlifyToken(request: SampleRequest, body: string): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url")
  const sha256 = createHash("sha256").update(body).digest("hex")
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ iss: "netlify", sha256 })}`
  return `${signed}.${mac("sha256", request, signed, "base64url")}`
}

/** Variables of a rename by which its former name can be told where a configuration says that it stands. */
const FORMER = ["previousSlug", "previousUrl"] as const

/**
 * The body, with each variable also where the configuration looks for it.
 *
 * @throws {CliError} `usage`: the sender sends nothing of the kind
 */
function bodyOf({ event, fields, now, sourceType }: SampleRequest, make: BodyMaker): string {
  const body = make(event, now) ?? standIn(event, fields, now, make)
  if (!body) throw noSuchEvent(sourceType, event, now, make)
  const variables = { ...event, kind: event.kind === "rename" ? "update" : event.kind }
  for (const [variable, pointer] of Object.entries(fields)) {
    const value = Object.hasOwn(variables, variable) ? variables[variable as keyof SampleEvent] : undefined
    if (value !== undefined) plant(body, pointer.split("/").slice(1).map(unescape), value)
  }
  return JSON.stringify(body)
}

/** A rename by a sender that has none, where `fields` say where the former name stands. */
function standIn(event: SampleEvent, fields: SampleRequest["fields"], now: Milliseconds, make: BodyMaker) {
  const isTold = event.kind === "rename" && FORMER.some((name) => Object.hasOwn(fields, name))
  return isTold
    ? (make({ ...event, kind: "update" }, now) ?? make({ ...event, kind: "publish" }, now))
    : undefined
}

function noSuchEvent(type: string, event: SampleEvent, now: Milliseconds, make: BodyMaker): CliError {
  const there = SAMPLE_KINDS.filter((kind) => make({ ...event, kind }, now) !== undefined)
  const lines = [`  it has ${there.join(", ")}`]
  if (event.kind === "rename") {
    lines.push(
      "  its deliveries do not tell what something was called before; where fields of the source name previousSlug or previousUrl, it is sent",
    )
  } else if (event.kind === "update" && there.includes("publish")) {
    lines.push("  what was changed is told as published once more: --event publish")
  }
  return new CliError("usage", `${type} has no delivery of the kind ${event.kind}`, { lines })
}

const unescape = (token: string): string => {
  if (token === "@locale") return LOCALE
  return token === "*" ? "0" : token.replaceAll("~1", "/").replaceAll("~0", "~")
}

/** Puts a value where a pointer leads to, unless something stands in its way. */
function plant(at: Record<string, unknown>, [token, ...rest]: readonly string[], value: string): void {
  if (token === undefined) return
  if (rest.length === 0) at[token] = value
  else {
    const next = Object.hasOwn(at, token) ? at[token] : (at[token] = {})
    if (next !== null && typeof next === "object") plant(next as Record<string, unknown>, rest, value)
  }
}

const JSON_TYPE = { "content-type": "application/json" }

/** A key that verifies and cannot sign, in whatever form the sources take it. */
export const isPublicKey = (secret: string): boolean =>
  secret.startsWith("whpk_") ||
  secret.trim().startsWith("-----") ||
  /^MI[A-Za-z0-9+/]{200,}={0,2}$/.test(secret.replaceAll(/\s/g, ""))

/** @throws {CliError} `usage` */
function keyOf({ key, secret }: SampleRequest, type: string): KeyObject | undefined {
  if (!key) {
    if (!isPublicKey(secret)) return undefined
    throw new CliError("usage", "the source's secret is a public key, by which nobody can sign", {
      lines: [
        "  --key <file> names the private key that belongs to it. The sender's own it has alone: put the public key",
        "  of a pair of your own into the source's list of secrets where this is tried, and nowhere else",
      ],
    })
  }
  if (key.asymmetricKeyType === type) return key
  throw new CliError("usage", `--key must hold a private key of the type ${type}`)
}

/** @throws {CliError} `usage` */
async function signStandard(request: SampleRequest, make: BodyMaker): Promise<SignedWebhook> {
  const { secret, now } = request
  const body = bodyOf(request, make)
  const id = `msg_${randomUUID()}`
  const key = keyOf(request, "ed25519")
  const timestamp = String(Math.floor(now / SECOND))
  const byKey = (by: KeyObject) =>
    sign(null, Buffer.from(signedPrefix(id, timestamp) + body), by).toString("base64")
  const headers = key
    ? { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": `v1a,${byKey(key)}` }
    : await signWebhook(secret, id, now / SECOND, body).catch((cause: unknown) => {
        throw new CliError("usage", "the source's secret is none: it must be whsec_ and base64", { cause })
      })
  return { headers: { ...JSON_TYPE, ...headers }, body }
}

/** By HMAC over time and body, or by RSA-PSS over the body: which of them, the secret's form says. */
function signContentstack(request: SampleRequest): SignedWebhook {
  const body = bodyOf(request, bodies.contentstack)
  const key = keyOf(request, "rsa")
  if (key) {
    const padding = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }
    const signature = sign("sha256", Buffer.from(body), { key, ...padding }).toString("base64")
    return { headers: { ...JSON_TYPE, "x-contentstack-request-signature": `v1=${signature}` }, body }
  }
  const time = Math.floor(request.now / SECOND)
  const signature = mac("sha256", request, `${time}.${body}`, "hex")
  return { headers: { ...JSON_TYPE, "x-contentstack-hmac-signature": `t=${time},v1=${signature}` }, body }
}

function signPlugin(request: SampleRequest): SignedWebhook {
  const body = bodyOf(request, bodies.plugin)
  const signature = createHmac("sha256", request.secret).update(body).digest("base64")
  const trigger = nameIn(bodies.PLUGIN, request)
  const headers = { ...JSON_TYPE, "x-wp-webhook-name": trigger, "x-wp-webhook-signature": signature }
  return { headers, body }
}
