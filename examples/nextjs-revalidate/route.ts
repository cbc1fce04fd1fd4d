import { revalidatePath, revalidateTag } from "next/cache"

/**
 * What a target of type `nextjs` tells this app: copy it to `app/api/tidemark/route.ts`. It needs Next.js 16, and
 * nothing to install.
 */

/** The secret that Tidemark signs with, `whsec_…`; while it is rotated the new one and the old, with a space between. */
const secretsOf = (environment: NodeJS.ProcessEnv): string => environment.TIDEMARK_WEBHOOK_SECRET ?? ""

/**
 * The path of the route that renders an address, as it lies under `app/`. Change this where they differ: by a
 * `basePath`, by rewrites, by route groups or parameters that a prefix spells out.
 */
const routeOf = (address: string): string => withoutLastSlash(new URL(address).pathname)

/** How far a delivery's time may be from ours. */
const TOLERANCE_SECONDS = 300

/** Tidemark sends 256 KiB at most. */
const MAX_BODY_BYTES = 256 * 1024

/** Next ignores a longer path, and says so in its own log alone. */
const MAX_PATH_LENGTH = 1024

export async function POST(request: Request): Promise<Response> {
  const secrets = secretsOf(process.env)
    .split(/\s+/)
    .flatMap((secret) => keyOf(secret) ?? [])
  if (secrets.length === 0) return say(503, "TIDEMARK_WEBHOOK_SECRET holds no secret")
  const body = await read(request)
  if (body === undefined) return say(413, "too long")
  if (!(await isSigned(request.headers, body, secrets)))
    return say(401, "the signature or its time is not right")
  const data = parse(body)
  if (!data) return say(400, "this is no invalidation")
  if (data.namespaces.length > 0 || data.hosts.length > 0)
    return say(422, "Next.js knows no namespaces and no hosts: use a target of type nextjs")
  if ([...data.urls, ...data.prefixes].flatMap(spellings).some((path) => path.length > MAX_PATH_LENGTH))
    return say(422, "Next.js would ignore a path so long")
  // Stale: served once more while it is made anew. Expired: never served again.
  const profile = data.mode === "purge" ? { expire: 0 } : "max"
  for (const tag of data.tags) revalidateTag(tag, profile)
  // Of a path, a prefix and everything Next knows the hard way alone.
  for (const path of data.urls.flatMap(spellings)) revalidatePath(path)
  for (const path of data.prefixes.flatMap(spellings)) revalidatePath(path, "layout")
  if (data.everything) revalidatePath("/", "layout")
  return say(200, "revalidated")
}

const say = (status: number, words: string): Response => new Response(`${words}\n`, { status })

const withoutLastSlash = (path: string): string => (path === "/" ? path : path.replace(/\/$/, ""))

/** What stays encoded where Next decodes a segment. */
const DELIMITER = /[/#?\\]|%(?:2f|23|3f|5c)/gi

/** The path of an address in the spellings that Next may know its page by: as it came, and with its segments decoded. */
function spellings(address: string): string[] {
  const path = routeOf(address)
  try {
    const segments = path.split("/").map((segment) => decodeURIComponent(segment))
    const decoded = segments.map((segment) => segment.replace(DELIMITER, encodeURIComponent)).join("/")
    return [...new Set([path, decoded])]
  } catch {
    return [path]
  }
}

/** The whole body, byte for byte as it was signed; undefined where it is too long. */
async function read(request: Request): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const chunks: Uint8Array[] = []
  let length = 0
  const reader = request.body?.getReader()
  for (;;) {
    const { done, value } = (await reader?.read()) ?? { done: true, value: undefined }
    if (done || !value) break
    length += value.length
    if (length > MAX_BODY_BYTES) {
      await reader?.cancel()
      return undefined
    }
    chunks.push(value)
  }
  return join(chunks, length)
}

function join(chunks: readonly Uint8Array[], length: number): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(length)
  let at = 0
  for (const chunk of chunks) {
    all.set(chunk, at)
    at += chunk.length
  }
  return all
}

/** The bytes of a `whsec_` secret; undefined where it is none. */
function keyOf(secret: string): Uint8Array<ArrayBuffer> | undefined {
  const bytes = secret.startsWith("whsec_") ? fromBase64(secret.slice("whsec_".length)) : undefined
  return bytes && bytes.length > 0 ? bytes : undefined
}

/**
 * Whether one of the secrets signed it, lately.
 *
 * @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
async function isSigned(
  headers: Headers,
  body: Uint8Array<ArrayBuffer>,
  secrets: readonly Uint8Array<ArrayBuffer>[],
): Promise<boolean> {
  const id = headers.get("webhook-id") ?? ""
  const time = headers.get("webhook-timestamp") ?? ""
  if (id === "" || !/^\d{1,12}$/.test(time)) return false
  if (Math.abs(Date.now() / 1000 - Number(time)) > TOLERANCE_SECONDS) return false
  const prefix = new TextEncoder().encode(`${id}.${time}.`)
  const signed = join([prefix, body], prefix.length + body.length)
  const hmac = { name: "HMAC", hash: "SHA-256" }
  for (const signature of (headers.get("webhook-signature") ?? "").split(" ")) {
    const given = signature.startsWith("v1,") ? fromBase64(signature.slice("v1,".length)) : undefined
    if (!given) continue
    for (const secret of secrets) {
      const key = await crypto.subtle.importKey("raw", secret, hmac, false, ["verify"])
      // `verify` takes the same time whatever differs, which `===` does not.
      if (await crypto.subtle.verify("HMAC", key, given, signed)) return true
    }
  }
  return false
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.from(atob(text), (char) => char.charCodeAt(0))
  } catch {
    return undefined
  }
}

const LISTS = ["namespaces", "tags", "urls", "prefixes", "hosts"] as const

interface Invalidation extends Readonly<Record<(typeof LISTS)[number], readonly string[]>> {
  readonly mode: "invalidate" | "purge"
  readonly everything: boolean
}

/** What is to be invalidated; undefined where the body does not say so. */
function parse(body: Uint8Array): Invalidation | undefined {
  try {
    const { type, data } = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body))
    const isWhole =
      type === "tidemark.invalidation" &&
      (data.mode === "invalidate" || data.mode === "purge") &&
      typeof data.everything === "boolean" &&
      LISTS.every(
        (list) => Array.isArray(data[list]) && data[list].every((each: unknown) => typeof each === "string"),
      ) &&
      [...data.urls, ...data.prefixes].every((address) => URL.canParse(address))
    return isWhole ? data : undefined
  } catch {
    return undefined
  }
}
