import { souin as souinTags } from "../../protocol/tag-rules.ts"
import { ask, beyond, tidy, troubleOf } from "./answer.ts"
import { type Node, theNode, unproven } from "./nodes.ts"
import { driverOf } from "./driver.ts"
import type {
  Batch,
  Capabilities,
  KindCapability,
  Outcome,
  Surroundings,
  TargetConfigOf,
  TargetDriver,
  TargetTraits,
  Value,
} from "./target.ts"

/** Where Souin's API answers unless its configuration says otherwise. @see https://github.com/darkweak/souin#souin-api */
const API = "/souin-api/souin"

/** Ours: Souin has no limits of its own, but goes through all its keys for each. */
const MAX_TAGS = 100

/** Ours: what proxies on the way take as one header line, by default 8 KiB. */
const MAX_HEADER_BYTES = 7_500

/** Its soft purge removes what it should keep, so there is none. */
const HARD: KindCapability = { modes: ["purge"], batch: 1 }

const BY_TAG: Capabilities = {
  kinds: { tag: { ...HARD, batch: MAX_TAGS }, everything: HARD },
  mixed: false,
  maxBytes: MAX_HEADER_BYTES,
  valueOverhead: souinTags.separator.length,
  tags: souinTags.codec,
  propagation: 0,
}

const BY_EXPRESSION: Capabilities = {
  ...BY_TAG,
  kinds: { ...BY_TAG.kinds, url: HARD, prefix: HARD, host: HARD },
}

/** It says 204 where its storage knows no regular expressions, too: what it can do must be said. */
const capabilitiesOf = ({ expressions = false }: Partial<TargetConfigOf<"souin">>): Capabilities =>
  expressions ? BY_EXPRESSION : BY_TAG

/**
 * One Souin, alone or within Caddy, by its API. `endpoint`, where given, is a broadcaster that stands for all nodes.
 */
export const souinTraits: TargetTraits<TargetConfigOf<"souin">> = {
  type: "souin",
  capabilities: capabilitiesOf,
  pace: () => [],
}

/** How it is asked. */
export const souin: TargetDriver<TargetConfigOf<"souin">> = /* @__PURE__ */ driverOf(
  souinTraits,
  (config, surroundings) => {
    const { endpoints, endpoint, token } = config
    const node = theNode(endpoints, endpoint)
    if (token !== undefined && !/^[\x21-\x7e]+$/.test(token))
      throw new TypeError("token is empty, or holds what no header may")
    const capabilities = capabilitiesOf(config)
    return {
      async purge(batch, signal) {
        return beyond(capabilities, batch) ?? send(surroundings, node, requestOf(batch), token, signal)
      },
    }
  },
)

interface NodeRequest {
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
}

/** Tags share one header; a batch of anything else has one value. */
function requestOf({ values }: Batch): NodeRequest {
  const [first] = values
  const { header, separator } = souinTags
  if (!first || first.kind === "tag")
    return { path: "", headers: { [header]: values.map(({ value }) => value).join(separator) } }
  return { path: `/${expressionOf(first)}`, headers: {} }
}

/**
 * The regular expression of the keys that a value is about. A key is `GET-https-www.example.com-/path?query`, with the
 * path decoded, and after it what the page varies by. Whether Souin sees the scheme of a visitor depends on where TLS
 * ends: it is left out. Souin reads the expression off the request line as it came, so it holds no sign that a url
 * could not: neither `^` nor `?`, `\`, `{` or `#`.
 *
 * @see https://github.com/darkweak/souin/blob/master/context/key.go
 */
function expressionOf({ kind, value }: Value): string {
  if (kind === "everything") return "flush"
  if (kind === "host") return `-${literal(value)}${/:\d+$/.test(value) ? "" : "(:[0-9]+|)"}-/`
  const { host, pathname, search } = new URL(value)
  const site = `-${literal(host)}-`
  if (kind === "prefix")
    return `${site}${literal(pathname === "/" ? pathname : pathname.replace(/\/$/, ""))}.*`
  return `${site}${literal(pathname)}${literal(search)}($|.-VARY-)`
}

/**
 * What is no plain sign may be any other: a little wider, and no syntax. In brackets, as a segment of dots alone would
 * be resolved by whoever sends it.
 */
const literal = (text: string): string => text.replaceAll(/(?:%[0-9A-F]{2}|[^\w/~-])+/gi, anySigns)

function anySigns(text: string): string {
  try {
    return `(${".".repeat(Array.from(decodeURIComponent(text)).length)})`
  } catch {
    return "(.+)"
  }
}

async function send(
  surroundings: Surroundings,
  node: Node,
  { path, headers }: NodeRequest,
  token: string | undefined,
  signal: AbortSignal,
): Promise<Outcome> {
  const authorised = token === undefined ? headers : { ...headers, authorization: `Bearer ${token}` }
  const init = { method: "PURGE", headers: authorised }
  const answer = await ask(surroundings, node.host, node.base + API + path, init, signal)
  if ("outcome" in answer) return answer
  const { status } = answer
  const { host } = node
  // Caddy says so until the site behind it is up, and for good where the API is off: that is not about what was asked.
  if (status === 404) return troubleOf(answer, surroundings.now(), `${host} has no API of Souin`)
  if (status === 204) return { outcome: "accepted", status }
  if (status < 200 || status >= 300)
    return unproven(node, answer, surroundings.now(), "which Souin does not say of a purge", [
      "token",
      "endpoints",
    ])
  const detail = tidy(`${host} answered ${status} and not 204, as Souin does`)
  return { outcome: "unauthorised", status, detail, mend: ["endpoints"] }
}
