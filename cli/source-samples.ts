import { createHash, createHmac, randomUUID } from "node:crypto"
import type { SourceConfig } from "../protocol/config/schema.ts"
import { signWebhook } from "../protocol/standard-webhooks.ts"
import { SECOND, type Milliseconds } from "../protocol/time.ts"
import { type SignedWebhook, signContentful } from "./demo/webhook.ts"
import { CliError } from "./exit.ts"
import * as bodies from "./sample-bodies.ts"
import { type BodyMaker, LOCALE } from "./sample-bodies.ts"

/** Deliveries as senders would make them, for `tidemark source test`. */

/** What a sample says was published. */
export interface SampleEvent {
  readonly type: string
  readonly id: string
  readonly slug: string
  /** Where it is to be seen. */
  readonly url: string
}

export interface SampleRequest {
  readonly event: SampleEvent
  /** Where the source's configuration says that variables are found. */
  readonly fields: Readonly<Record<string, string>>
  readonly secret: string
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

/** One type of source: what it sends when something is published, rightly signed. */
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

/** Every type that a sample can be made of: all but those whose sender alone has the key. */
export const SAMPLERS: Partial<Record<SourceConfig["type"], Sampler>> = {
  "builder-io": carriedBy(bodies.builderIo),
  contentful: (request) =>
    signContentful(request.secret, request.path, bodyOf(request, bodies.contentful), request.now),
  datocms: carriedBy(bodies.datocms),
  directus: carriedBy(bodies.directus),
  drupal: carriedBy(bodies.drupal),
  ghost: signedBy(bodies.ghost, (request, body) => ({
    "x-ghost-signature": `sha256=${mac("sha256", request, body + request.now, "hex")}, t=${request.now}`,
  })),
  github: signedBy(bodies.github, (request, body) => ({
    "x-github-event": "deployment_status",
    "x-github-delivery": randomUUID(),
    "x-hub-signature-256": `sha256=${mac("sha256", request, body, "hex")}`,
  })),
  hygraph: signedBy(bodies.hygraph, (request, body) => {
    const signed = `{"Body":${JSON.stringify(body)},"EnvironmentName":"master","TimeStamp":${request.now}}`
    return {
      "gcms-signature": `sign=${mac("sha256", request, signed, "base64")}, env=master, t=${request.now}`,
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
  sanity: signedBy(bodies.sanity, (request, body) => {
    const signature = mac("sha256", request, `${request.now}.${body}`, "base64url")
    return { "sanity-webhook-signature": `t=${request.now},v1=${signature}` }
  }),
  shopify: signedBy(bodies.shopify, (request, body) => ({
    "x-shopify-topic": "products/update",
    "x-shopify-event-id": randomUUID(),
    "x-shopify-hmac-sha256": mac("sha256", request, body, "base64"),
  })),
  "standard-webhooks": (request) => signStandard(request, bodies.standard),
  storyblok: signedBy(bodies.storyblok, (request, body) => ({
    "x-storyblok-topic": "story.published",
    "webhook-signature": mac("sha1", request, body, "hex"),
  })),
  strapi: carriedBy(bodies.strapi),
  svix: (request) => signStandard(request, bodies.standard),
  vercel: signedBy(bodies.vercel, (request, body) => ({
    "x-vercel-signature": mac("sha1", request, body, "hex"),
  })),
  webflow: signedBy(bodies.webflow, (request, body) => ({
    "x-webflow-timestamp": String(request.now),
    "x-webflow-signature": mac("sha256", request, `${request.now}:${body}`, "hex"),
  })),
  woocommerce: signedBy(bodies.woocommerce, (request, body) => ({
    "x-wc-webhook-topic": "product.updated",
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

/** The body, with each variable also where the configuration looks for it. */
function bodyOf({ event, fields, now }: SampleRequest, make: BodyMaker): string {
  const body = make(event, now)
  for (const [variable, pointer] of Object.entries(fields)) {
    const value = Object.hasOwn(event, variable) ? event[variable as keyof SampleEvent] : undefined
    if (value !== undefined) plant(body, pointer.split("/").slice(1).map(unescape), value)
  }
  return JSON.stringify(body)
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

/** @throws {CliError} `usage` */
async function signStandard(request: SampleRequest, make: BodyMaker): Promise<SignedWebhook> {
  const { secret, now } = request
  if (secret.startsWith("whpk_")) {
    throw new CliError("usage", "the source's secret is a public key: nobody but its sender can sign")
  }
  const body = bodyOf(request, make)
  const headers = await signWebhook(secret, `msg_${randomUUID()}`, now / SECOND, body).catch(
    (cause: unknown) => {
      throw new CliError("usage", "the source's secret is none: it must be whsec_ and base64", { cause })
    },
  )
  return { headers: { ...JSON_TYPE, ...headers }, body }
}

function signPlugin(request: SampleRequest): SignedWebhook {
  const body = bodyOf(request, bodies.plugin)
  const signature = createHmac("sha256", request.secret).update(body).digest("base64")
  const headers = { ...JSON_TYPE, "x-wp-webhook-name": "post_update", "x-wp-webhook-signature": signature }
  return { headers, body }
}
