import { Hono } from "hono"
import { withEpochCache } from "./fetch.ts"
import { epochCache } from "./hono.ts"
import { pageSuite } from "./testing/page-suite.ts"

const contextOf = (waitUntil: (work: Promise<unknown>) => void) => ({
  waitUntil,
  passThroughOnException: () => undefined,
  props: {},
})

pageSuite({
  name: "tidemark/hono",
  takesRequest: true,
  requestOf: (c: { req: { raw: Request } }) => c.req.raw,
  serve({ page, outside }, options, waitUntil) {
    const app = new Hono()
    app.onError(() => new Response("threw", { status: 500 }))
    app.use(async (c, next) => {
      for (const [name, value] of Object.entries(outside?.(c.req.raw) ?? {})) c.header(name, value)
      await next()
    })
    app.use(epochCache({ ...options, app } as never))
    app.all("*", async (c) => {
      const response = await page(c.req.raw)
      // As most routes answer: with what was prepared.
      const isPlain = response.status === 200 && !response.headers.has("content-encoding")
      return isPlain ? c.newResponse(response.body, { headers: response.headers }) : response
    })
    return async (request) => app.fetch(request, {}, contextOf(waitUntil))
  },
})

pageSuite({
  name: "tidemark/fetch",
  takesRequest: true,
  requestOf: ({ request }: { request: Request }) => request,
  serve({ page, outside }, options, waitUntil) {
    const handler = withEpochCache(page, options as never)
    return async (request) => {
      const response = await handler(request, {}, contextOf(waitUntil))
      const prepared = outside?.(request)
      if (!prepared) return response
      const copy = new Response(response.body, response)
      for (const [name, value] of Object.entries(prepared)) copy.headers.append(name, value)
      return copy
    }
  },
})
