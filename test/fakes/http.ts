import { PORTABLE_CODEC, type TagRules } from "../../protocol/tag-rules.ts"
import { type Fake, FakeBase, FakeCache, type FakeOptions, type Received, Refusal } from "./fake.ts"

export interface FakeReceiverOptions extends Omit<FakeOptions, "isUnlimited"> {
  readonly url: string
  /** The bytes of the secret. */
  readonly key: Uint8Array<ArrayBuffer>
  /** With what the pages of each namespace that it knows begin. Default: it knows none, and drops nothing for one. */
  readonly namespaces?: Readonly<Record<string, string>>
}

/** Whether the signature is that of the body, by the rules of Standard Webhooks and by no code of ours. */
export async function isSigned(
  secret: Uint8Array<ArrayBuffer>,
  headers: Headers,
  body: string,
): Promise<boolean> {
  const [version, signature, ...others] = (headers.get("webhook-signature") ?? "").split(",")
  if (version !== "v1" || signature === undefined || others.length > 0) return false
  const key = await crypto.subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, [
    "verify",
  ])
  const signed = `${headers.get("webhook-id")}.${headers.get("webhook-timestamp")}.${body}`
  const bytes = Uint8Array.from(atob(signature), (char) => char.charCodeAt(0))
  return crypto.subtle.verify("HMAC", key, bytes, new TextEncoder().encode(signed))
}

/** How this receiver has labels on its pages, and takes them. */
export const RECEIVER_RULES: TagRules = {
  header: "x-labels",
  separator: ",",
  maxBytes: 16_000,
  maxLabels: 1_000,
  codec: PORTABLE_CODEC,
}

const LISTS = ["namespaces", "tags", "urls", "prefixes", "hosts"] as const
const members = (value: object): string => Object.keys(value).join()

interface Payload {
  readonly type: unknown
  readonly timestamp: string
  readonly data: Readonly<Record<(typeof LISTS)[number], readonly string[]>> & {
    readonly mode: unknown
    readonly everything: unknown
    readonly epochs: object
  }
}

/**
 * A receiver that takes exactly what docs/targets/http.md promises it, and nothing that is not signed; with a cache that
 * it purges by all that a delivery can say.
 */
export class FakeReceiver extends FakeBase implements Fake {
  readonly cache = new FakeCache({ separator: "," })
  readonly #options: FakeReceiverOptions

  constructor(options: FakeReceiverOptions) {
    super()
    this.#options = options
  }

  handle(request: Received): Promise<Response> {
    return this.answer(() => this.#receive(request))
  }

  async #receive({ method, url, headers, body }: Received): Promise<Response> {
    const { key, now, namespaces = {} } = this.#options
    const ensure = (holds: boolean, what: string, status: number) => {
      if (!holds) throw new Refusal(what, new Response("no", { status }))
    }
    ensure(url === this.#options.url, url, 404)
    ensure(method === "POST", method, 405)
    ensure(new TextEncoder().encode(body).length <= 256 * 1024, "more than 256 KiB", 413)
    const names = [...headers.keys()].toSorted().join()
    ensure(names === "content-type,webhook-id,webhook-signature,webhook-timestamp", names, 400)
    ensure(headers.get("content-type") === "application/json", "the content-type", 415)
    const age = now() / 1_000 - Number(headers.get("webhook-timestamp"))
    if (Math.abs(age) > 300 || !(await isSigned(key, headers, body)))
      return new Response("no", { status: 401 })
    const payload: Payload = JSON.parse(body)
    ensure(members(payload) === "type,timestamp,data", members(payload), 422)
    ensure(payload.type === "tidemark.invalidation", String(payload.type), 422)
    ensure(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(payload.timestamp), payload.timestamp, 422)
    const { data } = payload
    const all = "tenant,mode,namespaces,tags,urls,prefixes,hosts,everything,epochs"
    ensure(members(data) === all, members(data), 422)
    ensure(members(data.epochs) === "first,last", members(data.epochs), 422)
    ensure(data.mode === "purge" || data.mode === "invalidate", String(data.mode), 422)
    ensure(
      LISTS.every((list) => Array.isArray(data[list])),
      "a list that is none",
      422,
    )
    const values = LISTS.flatMap((list) => data[list])
    ensure(values.length <= 1_000, `${values.length} values`, 422)
    ensure(typeof data.everything === "boolean" && (data.everything || values.length > 0), "nothing", 422)
    if (values.some((value) => value.includes("poison"))) return new Response("no", { status: 422 })
    this.taken.push(Math.max(1, values.length))
    this.cache.purge(data.mode === "purge" ? "hard" : "soft", ({ url: page, has }) => {
      const isBelow = (prefix: string) => {
        const path = prefix.replace(/\/$/, "")
        return page.href === path || ["/", "?"].some((next) => page.href.startsWith(path + next))
      }
      return (
        data.everything === true ||
        data.namespaces.some((name) => page.href.startsWith(namespaces[name] ?? "none")) ||
        data.tags.some(has) ||
        data.urls.includes(page.href) ||
        data.prefixes.some(isBelow) ||
        data.hosts.some((host) => host === page.host || host === page.hostname)
      )
    })
    return new Response("thank you")
  }
}
