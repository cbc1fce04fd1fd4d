import { PORTABLE_CODEC } from "../../protocol/tag-rules.ts"
import { ask, beyond, byStatus, more } from "./answer.ts"
import { type Node, theNode, unproven } from "./nodes.ts"
import { driverOf } from "./driver.ts"
import type {
  Capabilities,
  KindCapability,
  Outcome,
  Surroundings,
  TargetConfigOf,
  TargetDriver,
  TargetTraits,
  Value,
} from "./target.ts"

/** nginx removes; there is no soft purge, in the module as in Plus. One key a request. */
const HARD: KindCapability = { modes: ["purge"], batch: 1 }

const capabilitiesWith = (kinds: Capabilities["kinds"]): Capabilities => ({
  kinds,
  mixed: false,
  // It knows no tags: nothing is ever written by this.
  tags: PORTABLE_CODEC,
  // Our configuration has it keep no page by another one.
  spellings: "cases",
  propagation: 0,
})

const BY_URL = capabilitiesWith({ url: HARD })
const BY_WILDCARD = capabilitiesWith({ url: HARD, prefix: HARD, host: HARD })
/** What `*` alone means is written of the module, and not of Plus. */
const BY_ANY_WILDCARD = capabilitiesWith({ url: HARD, prefix: HARD, host: HARD, everything: HARD })

/** A module that knows no `*` answers as where there is nothing to purge: what it can do must be said. */
function capabilitiesOf({ module, wildcards = false }: Partial<TargetConfigOf<"nginx">>): Capabilities {
  if (module === "plus") return BY_WILDCARD
  return wildcards ? BY_ANY_WILDCARD : BY_URL
}

/**
 * The module compares no more than 511 bytes of a key with `*`, and passes over longer ones without a word. Cut, it is
 * a wider one.
 *
 * @see https://github.com/nginx-modules/ngx_cache_purge/blob/master/ngx_cache_purge_module.c
 */
const MAX_WILDCARD_BYTES = 500

/** What our purge server says with every answer: a 404 of a site that was asked by mistake is no success. */
const OURS = "x-tidemark-purge"

/**
 * One nginx with ngx_cache_purge or NGINX Plus, asked at the purge server of `infra/nginx/tidemark.conf`. `endpoint`,
 * where given, is a broadcaster that stands for all nodes.
 */
export const nginxTraits: TargetTraits<TargetConfigOf<"nginx">> = {
  type: "nginx",
  capabilities: capabilitiesOf,
  pace: () => [],
}

/** How it is asked. */
export const nginx: TargetDriver<TargetConfigOf<"nginx">> = /* @__PURE__ */ driverOf(
  nginxTraits,
  (config, surroundings) => {
    const node = theNode(config.endpoints, config.endpoint)
    const capabilities = capabilitiesOf(config)
    return {
      async purge(batch, signal) {
        // A page whose own name ends so is taken for a wildcard; where there is none, nothing is purged.
        const isWildcard = ({ kind, value }: Value) => kind === "url" && value.endsWith("*")
        const unsupported =
          beyond(capabilities, batch) ?? more(batch, isWildcard, () => "a url that ends in *")
        if (unsupported) return unsupported
        // A batch has one value, and is never empty.
        const key = batch.values.map(keyOf).join("")
        return send(surroundings, node, key, signal)
      },
    }
  },
)

/**
 * The cache key of `tidemark.conf`: host, scheme, path and query. A `Host` has no port there, so neither has it here,
 * and a host is one key's beginning, whatever its scheme. A prefix goes without its last slash, to cover the page at
 * `…/blog` and `…/blog?page=2` too; it reaches `…/blogger` as well.
 */
function keyOf({ kind, value }: Value): string {
  if (kind === "everything") return "*"
  if (kind === "host") return `${value.replace(/:\d+$/, "")}/*`
  const { hostname, protocol, pathname, search } = new URL(value)
  const site = `${hostname}/${protocol.slice(0, -1)}`
  if (kind !== "prefix") return site + pathname + search
  const prefix = site + (pathname === "/" ? pathname : pathname.replace(/\/$/, ""))
  return `${prefix.slice(0, MAX_WILDCARD_BYTES)}*`
}

async function send(
  surroundings: Surroundings,
  node: Node,
  key: string,
  signal: AbortSignal,
): Promise<Outcome> {
  const answer = await ask(surroundings, node.host, `${node.base}/${key}`, { method: "PURGE" }, signal)
  if ("outcome" in answer) return answer
  const { status, headers } = answer
  if (!headers.has(OURS))
    return unproven(node, answer, surroundings.now(), `no ${OURS} came with it: no purge server of ours`)
  // By all but its oldest versions the module says 412 where there was nothing, and Plus 404.
  if (status === 404 || status === 412) return { outcome: "accepted", status }
  const outcome = byStatus(node.host, answer, surroundings.now())
  if (outcome.outcome !== "refused" || status === 400 || status === 414) return outcome
  // Neither the addresses that are let in nor the address that is asked are mended by asking for something else.
  return { outcome: "unauthorised", status, detail: outcome.detail, mend: ["endpoints"] }
}
