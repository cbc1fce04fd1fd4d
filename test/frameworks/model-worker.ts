import type { IncomingMessage, ServerResponse } from "node:http"
import { text } from "node:stream/consumers"
import { parseInvalidation } from "../../protocol/invalidation.ts"
import { lookupJson, type LookupRequest } from "../../protocol/lookup.ts"
import type { Clock, ModelStore } from "../../client/testing/model-store.ts"

/** A listener that answers as the Worker does, out of a model. */
export const modelWorker =
  (store: ModelStore, clock: Clock) =>
  async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    clock.time = Date.now()
    const { pathname, searchParams } = new URL(request.url ?? "", "http://worker")
    const answer = (body: unknown) =>
      response.setHeader("content-type", "application/json").end(JSON.stringify(body))
    if (pathname === "/v1/invalidations") {
      const what = JSON.parse(await text(request))
      const { errors } = { errors: undefined, ...parseInvalidation(what) }
      if (errors) response.statusCode = 422
      answer(errors ?? (await store.publish(what)))
      return
    }
    const after = searchParams.get("after")
    const of = (name: string, namespace: string) =>
      searchParams
        .getAll(name)
        .filter((value) => value.startsWith(`${namespace}:`))
        .map((value) => value.slice(namespace.length + 1))
    const asked: LookupRequest =
      request.method === "POST"
        ? new Map(Object.entries(JSON.parse(await text(request)).namespaces))
        : new Map(
            searchParams
              .getAll("ns")
              .map((namespace) => [namespace, { tags: of("tag", namespace), urls: of("url", namespace) }]),
          )
    answer(lookupJson(await store.lookup(asked, after === null ? undefined : Number(after))))
  }
