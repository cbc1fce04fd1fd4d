import { createHmac, randomUUID } from "node:crypto"
import type { SourceConfig } from "../protocol/config/schema.ts"
import { signWebhook } from "../protocol/standard-webhooks.ts"
import { SECOND, type Milliseconds } from "../protocol/time.ts"
import { type SignedWebhook, signContentful } from "./demo/webhook.ts"
import { CliError } from "./exit.ts"

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
  /** Of the whole url that the delivery is sent to. */
  readonly path: string
  readonly now: Milliseconds
}

/** One type of source: what it sends when something is published, rightly signed. */
type Sampler = (request: SampleRequest) => SignedWebhook | Promise<SignedWebhook>

/** Every type that a sample can be made of. */
export const SAMPLERS: Partial<Record<SourceConfig["type"], Sampler>> = {
  contentful: (request) =>
    signContentful(request.secret, request.path, bodyOf(request, contentful), request.now),
  payload: (request) => signStandard(request, ours),
  "standard-webhooks": (request) => signStandard(request, standard),
  wordpress: (request) =>
    request.secret.startsWith("whsec_") ? signStandard(request, ours) : signPlugin(request),
}

type BodyMaker = (event: SampleEvent, now: Milliseconds) => Record<string, unknown>

const LOCALE = "en-US"

const contentful: BodyMaker = ({ type, id, slug }, now) => ({
  sys: {
    type: "Entry",
    id,
    revision: now,
    contentType: { sys: { type: "Link", linkType: "ContentType", id: type } },
  },
  fields: { slug: { [LOCALE]: slug } },
})

const standard: BodyMaker = ({ type, id, slug, url }, now) => ({
  type: `${type}.published`,
  timestamp: new Date(now).toISOString(),
  data: { id, slug, url },
})

/** As the senders in `examples/` have it. */
const ours: BodyMaker = ({ type, id, slug, url }, now) => ({
  type: `${type}.publish`,
  timestamp: new Date(now).toISOString(),
  data: { kind: "publish", type, id, slug, url, tags: [] },
})

/** The plugin WP Webhooks. */
const plugin: BodyMaker = ({ type, id, slug, url }, now) => ({
  post_id: id,
  post: {
    ID: id,
    post_type: type,
    post_status: "publish",
    post_name: slug,
    post_modified_gmt: new Date(now).toISOString().slice(0, 19).replace("T", " "),
  },
  post_permalink: url,
})

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
  const body = bodyOf(request, plugin)
  const signature = createHmac("sha256", request.secret).update(body).digest("base64")
  const headers = { ...JSON_TYPE, "x-wp-webhook-name": "post_update", "x-wp-webhook-signature": signature }
  return { headers, body }
}
