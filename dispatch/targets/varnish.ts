import { utf8 } from "../../protocol/bytes.ts"
import { varnish as varnishTags } from "../../protocol/tag-rules.ts"
import { ask, beyond, byStatus } from "./answer.ts"
import { type Node, theNode, unproven } from "./nodes.ts"
import { driverOf } from "./driver.ts"
import type {
  Batch,
  Capabilities,
  Outcome,
  Surroundings,
  TargetConfigOf,
  TargetDriver,
  TargetTraits,
  Value,
} from "./target.ts"

/**
 * Ours: Varnish has no limit of its own, and the bytes below nearly always come first. It keeps a purge that is
 * refused, and so cut in two, small.
 */
const MAX_TAGS = 200

/**
 * A whole header line may have `http_req_hdr_len`, 8,192 bytes by default; the name and what proxies on the way add
 * must fit too. FOSHttpCache cuts its tag headers at the same size.
 *
 * @see https://varnish-cache.org/docs/trunk/reference/varnishd.html#list-of-parameters
 * @see https://github.com/FriendsOfSymfony/FOSHttpCache/pull/273
 */
const MAX_HEADER_BYTES = 7_500

const CAPABILITIES: Capabilities = {
  kinds: {
    tag: { modes: ["invalidate", "purge"], batch: MAX_TAGS },
    url: { modes: ["invalidate", "purge"], batch: 1 },
    // A ban makes what it matches unusable; there is no soft one.
    prefix: { modes: ["purge"], batch: 1 },
    host: { modes: ["purge"], batch: 1 },
    everything: { modes: ["purge"], batch: 1 },
  },
  mixed: false,
  maxBytes: MAX_HEADER_BYTES,
  tags: varnishTags.codec,
  propagation: 0,
}

/**
 * One Varnish with vmod_xkey, asked in the words of `infra/varnish/tidemark.vcl`. `endpoint`, where given, is a
 * broadcaster that stands for all nodes.
 */
export const varnishTraits: TargetTraits<TargetConfigOf<"varnish">> = {
  type: "varnish",
  capabilities: () => CAPABILITIES,
  pace: () => [],
}

/** How it is asked. */
export const varnish: TargetDriver<TargetConfigOf<"varnish">> = /* @__PURE__ */ driverOf(
  varnishTraits,
  ({ endpoint, endpoints }, surroundings) => {
    if (endpoint === undefined && endpoints === "dev")
      throw new TypeError(`endpoints: "dev" means the Varnish of \`tidemark dev\`; list addresses`)
    const node = theNode(endpoints, endpoint)
    return {
      async purge(batch, signal) {
        return beyond(CAPABILITIES, batch) ?? send(surroundings, node, requestOf(batch), signal)
      },
    }
  },
)

interface NodeRequest {
  readonly method: "PURGE" | "BAN"
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
}

/** Tags share one header; a batch of anything else has one value. */
function requestOf({ mode, values }: Batch): NodeRequest {
  const [first] = values
  if (!first || first.kind === "tag") {
    const header = mode === "purge" ? "xkey-purge" : "xkey-softpurge"
    return { method: "PURGE", path: "/", headers: { [header]: values.map(({ value }) => value).join(" ") } }
  }
  return requestOfOne(first, mode)
}

function requestOfOne({ kind, value }: Value, mode: Batch["mode"]): NodeRequest {
  if (kind === "url") {
    const { host, pathname, search } = new URL(value)
    const soft: Record<string, string> = mode === "invalidate" ? { "x-tidemark-mode": mode } : {}
    // A `fetch` that keeps to its standard sends the endpoint's own Host, whatever it is told; the VCL takes the other.
    return { method: "PURGE", path: pathname + search, headers: { host, "x-tidemark-host": host, ...soft } }
  }
  if (kind === "prefix") {
    const { host, url } = prefixRegexes(value)
    return { method: "BAN", path: "/", headers: { "x-tidemark-ban-host": host, "x-tidemark-ban-url": url } }
  }
  if (kind === "host")
    return { method: "BAN", path: "/", headers: { "x-tidemark-ban-host": hostRegex(value) } }
  return { method: "BAN", path: "/", headers: { "x-tidemark-ban": "everything" } }
}

/**
 * What `tidemark.vcl` says with every answer of its own: how many objects it dropped, or `-` where Varnish does not
 * count them. A site that was asked by mistake, a VCL of others that also knows PURGE, and one that returns before ours
 * is reached, all answer without it.
 */
const OURS = "x-tidemark-purged"

async function send(
  surroundings: Surroundings,
  node: Node,
  { method, path, headers }: NodeRequest,
  signal: AbortSignal,
): Promise<Outcome> {
  // Joined as text: resolved against a base, a path that begins with `//` would name another server.
  const answer = await ask(surroundings, node.host, node.base + path, { method, headers }, signal)
  if ("outcome" in answer) return answer
  const told = answer.headers.get(OURS)
  if (told === null) {
    const lacking = `no ${OURS} came with it: tidemark.vcl is missing, is an older one, or comes after a return of another`
    return unproven(node, answer, surroundings.now(), lacking)
  }
  const outcome = byStatus(node.host, answer, surroundings.now())
  // 405 and the like by our VCL: of another version than this driver.
  if (outcome.outcome === "refused" && answer.status !== 400)
    return { outcome: "unauthorised", status: answer.status, detail: outcome.detail, mend: ["endpoints"] }
  if (outcome.outcome !== "accepted" || !/^\d{1,12}$/.test(told)) return outcome
  return { ...outcome, vendorId: told }
}

/** Stands for itself in a regular expression, within a header and within a ban. */
const PLAIN = /[\w/~!@%&=:;,-]/
const SYNTAX = /[.*+?^$(){}[\]|\\]/

/**
 * A text as PCRE that matches it and nothing else. White space, quotes and whatever is not ASCII come as `\x20`: a ban
 * is one line of words separated by spaces, and a quote would begin a word that has them.
 *
 * @see https://varnish-cache.org/docs/trunk/users-guide/purging.html#bans
 */
const literal = (text: string): string =>
  Array.from(utf8(text), (byte) => {
    const char = String.fromCharCode(byte)
    if (PLAIN.test(char)) return char
    return SYNTAX.test(char) ? `\\${char}` : `\\x${byte.toString(16).padStart(2, "0")}`
  }).join("")

/** The `Host` headers that a host covers: one without a port covers all its ports. */
export const hostRegex = (host: string): string =>
  /:\d+$/.test(host) ? `^${literal(host)}$` : `^${literal(host)}(:\\d+)?$`

/** An expression of a path, for its escapes in upper case as in lower case: both are the same address. */
const inEitherCase = (regex: string): string =>
  regex.replaceAll(/%[\da-f]{2}/gi, (escape) =>
    escape.replaceAll(/[a-f]/gi, (digit) => `[${digit.toLowerCase()}${digit.toUpperCase()}]`),
  )

/**
 * The `Host` headers and the paths with queries that a prefix covers, by whole segments and with or without its last
 * slash. The scheme is not among them, as Varnish does not see it.
 */
export function prefixRegexes(prefix: string): { readonly host: string; readonly url: string } {
  const { host, pathname } = new URL(prefix)
  const path = pathname.replace(/\/$/, "")
  // What is left ends in a slash for the root and for an empty last segment only. Neither can do without the other one.
  const end = path === "" || path.endsWith("/") ? "/" : "(/|\\?|$)"
  return { host: hostRegex(host), url: `^${inEitherCase(literal(path))}${end}` }
}
