import { createHmac, timingSafeEqual } from "node:crypto"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"

/** What Cloudflare's purge takes at most in one call, of any kind. */
const MAX_ITEMS = 100

/** The members of a body, and what we call them. */
const KINDS = {
  tags: "tag",
  files: "url",
  prefixes: "prefix",
  hosts: "host",
  purge_everything: "everything",
} as const
type Member = keyof typeof KINDS
export type VendorKind = (typeof KINDS)[Member]

/** One call as it came; `status` is what it was answered with, once it was. */
export interface VendorCall {
  readonly mode: "invalidate" | "purge"
  readonly kind: VendorKind
  readonly values: readonly string[]
  /** When it had come in whole; ms since 1970. */
  readonly at: number
  status: number | "cut" | undefined
}

/** One delivery to the receiver of webhooks, its signature found good. */
export interface Delivery {
  readonly id: string
  readonly data: {
    readonly tenant: string
    readonly mode: string
    readonly namespaces: readonly string[]
    readonly tags: readonly string[]
    readonly urls: readonly string[]
    readonly prefixes: readonly string[]
    readonly hosts: readonly string[]
    readonly everything: boolean
    readonly epochs: { readonly first: number; readonly last: number }
  }
}

/**
 * How a call is answered where it is not just taken. `cut` closes the connection without a word; `takenThenCut` too, but
 * the purge is made.
 */
export type VendorAnswer =
  | {
      readonly status: number
      readonly retryAfter?: number
      readonly success?: boolean
      readonly message?: string
      /** Cloudflare's own. Default 1061: of a value. */
      readonly code?: number
    }
  | "cut"
  | "takenThenCut"

export interface FakeVendor extends AsyncDisposable {
  /** What a `cloudflare` target's `endpoint` is set to. */
  readonly endpoint: string
  readonly zone: string
  readonly token: string
  /** What an `http` target's `url` is set to, and its secret. */
  readonly hookUrl: string
  readonly hookSecret: string
  readonly calls: readonly VendorCall[]
  readonly deliveries: readonly Delivery[]
  /** Calls that were taken, of one kind or of all. */
  taken(kind?: VendorKind): readonly VendorCall[]
  /** Distinct values of calls that were taken, sorted. */
  purged(kind: VendorKind): string[]
  /** Calls that have no answer yet. */
  readonly underWay: number
  /** What the vendor would never have seen from a client that keeps to its documentation. */
  readonly complaints: readonly string[]
  /** Asked of each call, counted from 1; nothing for taking it. It may take its time. */
  answer: (call: VendorCall, nth: number) => VendorAnswer | undefined | Promise<VendorAnswer | undefined>
  /** Lets answers wait from now on; what is returned lets them go. */
  hold(): () => void
  /** Forgets what came so far, but for complaints. */
  forget(): void
}

class Refusal extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks).toString("utf8")
}

const parseObject = (text: string): Record<string, unknown> => {
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    throw new Refusal(400, "the body is no JSON")
  }
  if (body === null || typeof body !== "object" || Array.isArray(body))
    throw new Refusal(400, "the body is no object")
  return Object.fromEntries(Object.entries(body))
}

const isList = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((one) => typeof one === "string")

/** @throws {Refusal} for whatever Cloudflare does not document */
function readPurge(mode: VendorCall["mode"], text: string): VendorCall {
  const members = Object.entries(parseObject(text))
  const [first] = members
  if (!first || members.length > 1)
    throw new Refusal(400, `a body has one kind, not ${members.map(([name]) => name).join(" and ")}`)
  const [member, value] = first
  const kind = Object.hasOwn(KINDS, member) ? KINDS[member as Member] : undefined
  if (!kind) throw new Refusal(400, `nothing is purged by ${member}`)
  if (kind === "everything") {
    if (value !== true) throw new Refusal(400, "purge_everything is true or absent")
    return { mode, kind, values: ["*"], at: Date.now(), status: undefined }
  }
  if (!isList(value) || value.length === 0) throw new Refusal(400, `${member} is no list of texts`)
  if (value.length > MAX_ITEMS) throw new Refusal(400, `${value.length} ${member} in one call`)
  if (new Set(value).size < value.length) throw new Refusal(400, `a value twice in ${member}`)
  const form = {
    tag: /^[\x21-\x2b\x2d-\x7e]{1,1024}$/,
    url: /^https?:\/\//,
    prefix: /^(?!https?:)[^/]+(\/.*[^/])?$/,
    host: /^[^/:]+$/,
  }[kind]
  const odd = value.find((one) => !form.test(one))
  if (odd !== undefined) throw new Refusal(400, `${JSON.stringify(odd)} among ${member}`)
  return { mode, kind, values: value, at: Date.now(), status: undefined }
}

/** @throws {Refusal} for a delivery whose signature, age or form is not as Standard Webhooks and our docs have it */
function readDelivery(headers: IncomingMessage["headers"], secret: string, text: string): Delivery {
  const header = (name: string): string => {
    const value = headers[name]
    if (typeof value !== "string" || value === "") throw new Refusal(401, `no ${name}`)
    return value
  }
  const [id, timestamp, signatures] = [
    header("webhook-id"),
    header("webhook-timestamp"),
    header("webhook-signature"),
  ]
  if (Math.abs(Date.now() / 1_000 - Number(timestamp)) > 300)
    throw new Refusal(401, "a timestamp out of bounds")
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64")
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.${text}`).digest()
  const isSigned = signatures.split(" ").some((one) => {
    const given = Buffer.from(one.replace(/^v1,/, ""), "base64")
    return given.length === expected.length && timingSafeEqual(given, expected)
  })
  if (!isSigned) throw new Refusal(401, "a signature that is not ours")
  const { type, timestamp: at, data, ...rest } = parseObject(text)
  if (type !== "tidemark.invalidation" || typeof at !== "string" || Object.keys(rest).length > 0)
    throw new Refusal(400, "a payload of another form")
  const { tenant, mode, namespaces, tags, urls, prefixes, hosts, everything, epochs, ...more } =
    data as Record<string, unknown>
  const lists = [namespaces, tags, urls, prefixes, hosts]
  const isWhole =
    typeof tenant === "string" &&
    (mode === "invalidate" || mode === "purge") &&
    typeof everything === "boolean"
  if (!isWhole || !lists.every(isList) || typeof epochs !== "object" || Object.keys(more).length > 0)
    throw new Refusal(400, "data of another form")
  return { id, data: data as Delivery["data"] }
}

/**
 * Cloudflare's zone purge and a receiver of our webhooks on loopback, both strict: what is not documented is refused,
 * and complained of.
 */
export async function fakeVendor(): Promise<FakeVendor> {
  const zone = "023e105f4ecef8ad9ca31a8372d0c353"
  const token = "cf-token-that-no-output-may-hold"
  const hookSecret = `whsec_${Buffer.from("hook-secret-that-no-output-may-hold").toString("base64")}`
  const calls: VendorCall[] = []
  const deliveries: Delivery[] = []
  const complaints: string[] = []
  const bodies = new Map<string, string>()
  let underWay = 0
  let held: Promise<void> = Promise.resolve()
  const vendor: Omit<FakeVendor, "endpoint" | "hookUrl" | typeof Symbol.asyncDispose> = {
    zone,
    token,
    hookSecret,
    calls,
    deliveries,
    complaints,
    answer: () => undefined,
    taken: (kind) =>
      calls.filter((call) => call.status === 200 && (kind === undefined || call.kind === kind)),
    purged: (kind) => [...new Set(vendor.taken(kind).flatMap(({ values }) => values))].toSorted(),
    get underWay() {
      return underWay
    },
    hold() {
      const { promise, resolve } = Promise.withResolvers<void>()
      held = promise
      return () => {
        held = Promise.resolve()
        resolve()
      }
    },
    forget() {
      calls.length = 0
      deliveries.length = 0
    },
  }

  const send = (
    response: ServerResponse,
    status: number,
    body: object,
    headers: Record<string, string> = {},
  ) => {
    response.writeHead(status, { "content-type": "application/json", ...headers })
    response.end(JSON.stringify(body))
  }
  const envelope = (success: boolean, message = "no", code = 1_061) => ({
    success,
    errors: success ? [] : [{ code, message }],
    messages: [],
    result: success ? { id: `purge-${calls.length}` } : null,
  })

  async function purge(
    request: IncomingMessage,
    response: ServerResponse,
    mode: VendorCall["mode"],
  ): Promise<void> {
    if (request.headers.authorization !== `Bearer ${token}`) {
      send(response, 403, envelope(false, "Authentication error"))
      return
    }
    const call = readPurge(mode, await readBody(request))
    calls.push(call)
    underWay += 1
    try {
      await held
      const answer = (await vendor.answer(call, calls.length)) ?? { status: 200 }
      if (answer === "cut" || answer === "takenThenCut") {
        call.status = answer === "cut" ? answer : 200
        response.destroy()
      } else {
        const { status, retryAfter, success = status < 300, message, code } = answer
        call.status = status
        // A vendor that says 200 and means no has taken nothing.
        if (!success && status === 200) call.status = undefined
        const pause = retryAfter === undefined ? {} : { "retry-after": String(retryAfter) }
        send(response, status, envelope(success, message, code), pause)
      }
    } finally {
      underWay -= 1
    }
  }

  async function receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const text = await readBody(request)
    const delivery = readDelivery(request.headers, hookSecret, text)
    const known = bodies.get(delivery.id)
    if (known !== undefined && known !== text) throw new Refusal(400, "an id that was another delivery's")
    bodies.set(delivery.id, text)
    await held
    deliveries.push(delivery)
    response.writeHead(204).end()
  }

  async function route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method, url, headers } = request
    if (method !== "POST") throw new Refusal(405, `${method} ${url}`)
    if (headers["content-type"] !== "application/json")
      throw new Refusal(415, `a content-type of ${headers["content-type"]}`)
    if (url === `/client/v4/zones/${zone}/purge_cache`) return purge(request, response, "purge")
    if (url === `/client/v4/zones/${zone}/invalidate_cache`) return purge(request, response, "invalidate")
    if (url === "/hook") return receive(request, response)
    throw new Refusal(404, `${method} ${url}`)
  }

  const server = createServer((request, response) => {
    route(request, response).catch((error: unknown) => {
      const { status, message } = error instanceof Refusal ? error : { status: 500, message: String(error) }
      complaints.push(message)
      if (!response.headersSent) send(response, status, envelope(false, message))
    })
  })
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening))
  const { port } = server.address() as AddressInfo
  return Object.defineProperties(vendor, {
    endpoint: { value: `http://127.0.0.1:${port}/client/v4` },
    hookUrl: { value: `http://127.0.0.1:${port}/hook` },
    [Symbol.asyncDispose]: {
      async value() {
        server.closeAllConnections()
        await new Promise((closed) => server.close(closed))
      },
    },
  }) as FakeVendor
}
