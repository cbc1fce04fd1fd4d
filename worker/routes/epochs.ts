import * as z from "zod/mini"
import type { Hono } from "hono"
import { findNamespace } from "../../protocol/config/config.ts"
import { type Epoch, parseEpoch } from "../../protocol/epoch.ts"
import { type Fault, pointer, Problem } from "../../protocol/errors.ts"
import { faults, MAX_BODY_BYTES } from "../../protocol/invalidation.ts"
import { type LookupRequest, lookupCommands, lookupJson, readLookup } from "../../protocol/lookup.ts"
import { isNamespace, type Namespace, NAMESPACE_RULE } from "../../protocol/namespace.ts"
import { must } from "../../protocol/schema.ts"
import { type Checked, checkNormalUrl, checkTag } from "../../protocol/selector.ts"
import { type Principal, requireScope } from "../../protocol/tokens.ts"
import { type EdgeContext, type EdgeEnv, parseJsonBody, principalOf, readBody } from "../context.ts"

const MAX_NAMESPACES = 16
const MAX_ASKED = 256

const isEpoch = (value: number): boolean => Number.isSafeInteger(value) && value >= 0

// Nothing else of the bundle needs zod's records and integers: without them it has a kilobyte of gzip less.
const bodySchema = z.strictObject({
  namespaces: z.catchall(
    z.object({}),
    z.strictObject({ tags: z.optional(z.array(z.string())), urls: z.optional(z.array(z.string())) }),
  ),
  after: z.optional(z.number().check(must(isEpoch, "must be an epoch: an integer from 0 on"))),
})

/** The look-up: what readers at request time judge their entries by. One subrequest. */
export function epochRoutes(app: Hono<EdgeEnv>): void {
  app.get("/v1/epochs", async (c) => {
    const principal = await principalOf(c)
    const query = c.req.queries()
    const request = new Map<Namespace, { tags: string[]; urls: string[] }>()
    const of = (namespace: string) => {
      if (!isNamespace(namespace))
        throw new Problem("invalid_parameter", "ns, tag and url must name a namespace.")
      const asked = request.get(namespace) ?? { tags: [], urls: [] }
      request.set(namespace, asked)
      return asked
    }
    for (const namespace of query.ns ?? []) of(namespace)
    for (const [name, check] of [
      ["tag", checkTag],
      ["url", checkNormalUrl],
    ] as const) {
      for (const text of query[name] ?? []) {
        const [namespace, value] = splitNamespace(name, text)
        of(namespace)[`${name}s`].push(
          valueOf(check(value), (problem) => new Problem("invalid_parameter", `${name}: ${problem}.`)),
        )
      }
    }
    const tooMany = countAll(request)
    if (tooMany) throw new Problem("invalid_parameter", tooMany)
    if (request.size === 0) throw new Problem("invalid_parameter", "Ask for at least one ns, tag or url.")
    const after = query.after?.[0] === undefined ? undefined : parseEpoch(query.after[0])
    if (query.after && after === undefined) throw new Problem("invalid_parameter", "after must be an epoch.")
    return answer(c, principal, request, after)
  })

  app.post("/v1/epochs", async (c) => {
    const principal = await principalOf(c)
    const read = bodySchema.safeParse(parseJsonBody(await readBody(c, MAX_BODY_BYTES)))
    if (!read.success) throw invalid(faults(read.error.issues))
    const errors: Fault[] = []
    const request = new Map<Namespace, { tags: string[]; urls: string[] }>()
    for (const [namespace, asked] of Object.entries(read.data.namespaces)) {
      if (!isNamespace(namespace))
        errors.push({ pointer: pointer(["namespaces", namespace]), detail: `must be ${NAMESPACE_RULE}` })
      const values = (list: "tags" | "urls", check: (text: string) => Checked) =>
        (asked[list] ?? []).flatMap((text, index) => {
          const result = check(text)
          if ("value" in result) return [result.value]
          errors.push({ pointer: pointer(["namespaces", namespace, list, index]), detail: result.problem })
          return []
        })
      request.set(namespace, { tags: values("tags", checkTag), urls: values("urls", checkNormalUrl) })
    }
    const tooMany = countAll(request)
    if (tooMany) errors.push({ pointer: "/namespaces", detail: tooMany })
    if (request.size === 0)
      errors.push({ pointer: "/namespaces", detail: "must name at least one namespace" })
    if (errors.length > 0) throw invalid(errors)
    return answer(c, principal, request, read.data.after)
  })
}

/** `<namespace>:<value>`: a namespace holds no colon, so the first one parts them. */
function splitNamespace(name: string, text: string): [string, string] {
  const colon = text.indexOf(":")
  if (colon < 0) throw new Problem("invalid_parameter", `${name} must be <namespace>:<value>.`)
  return [text.slice(0, colon), text.slice(colon + 1)]
}

function valueOf(result: Checked, problem: (text: string) => Problem): string {
  if ("problem" in result) throw problem(result.problem)
  return result.value
}

function countAll(request: LookupRequest): string | undefined {
  const asked = [...request.values()].reduce((sum, { tags, urls }) => sum + tags.length + urls.length, 0)
  if (request.size > MAX_NAMESPACES) return `At most ${MAX_NAMESPACES} namespaces may be asked at once.`
  return asked > MAX_ASKED ? `At most ${MAX_ASKED} tags and urls may be asked at once.` : undefined
}

const invalid = (errors: readonly Fault[]) =>
  new Problem("invalid_request", "The request has members that are not as they must be.", { errors })

async function answer(
  c: EdgeContext,
  principal: Principal,
  request: LookupRequest,
  after: Epoch | undefined,
) {
  const { store, config, now } = c.get("edge")
  for (const namespace of request.keys()) requireScope(principal, "epochs", namespace)
  for (const namespace of request.keys()) {
    if (findNamespace(config, principal.tenant, namespace)) continue
    throw new Problem("unknown_namespace", "A namespace that was asked for is not declared.")
  }
  // Before the store is asked: an answer may be older than this says, never younger.
  const asOf = now()
  const replies = await store.pipeline(lookupCommands(principal.tenant, request, after))
  const lookup = readLookup(principal.tenant, request, replies, asOf, after)
  return c.json(lookupJson(lookup), 200, { "cache-control": "no-store" })
}
