import { Hono } from "hono/tiny"
import { type Problem, problemParts, Problem as ProblemError } from "../protocol/errors.ts"
import { asProblem, type Edge, type EdgeEnv } from "./context.ts"
import { openApi } from "./openapi.ts"
import { epochRoutes } from "./routes/epochs.ts"
import { explainRoutes } from "./routes/explain.ts"
import { hookRoutes } from "./routes/hooks.ts"
import { invalidationRoutes } from "./routes/invalidations.ts"

/** Where the edge comes from: built at the first request, as only then the bindings are known. */
export type EdgeOf = (bindings: Readonly<Record<string, unknown>>) => Edge

export interface AppOptions {
  /** Host names that a request may be sent to; others are 421. Default: all, as a deployed Worker has its routes. */
  readonly hosts?: readonly string[]
  /** Told of every answer that is our own fault; never of a request's content. */
  readonly onError?: (problem: Problem) => void
}

/** The edge functions as one Hono app. */
export function createApp(edgeOf: EdgeOf, { hosts, onError }: AppOptions = {}): Hono<EdgeEnv> {
  const app = new Hono<EdgeEnv>()

  app.onError((error) => {
    const { problem, body, headers } = problemParts(asProblem(error))
    if (problem.status >= 500) onError?.(problem)
    return new Response(body, { status: problem.status, headers })
  })

  if (hosts) {
    app.use(async function checkHost(c, next) {
      // Both: in development the url is what a header of the client says (`MF-Original-URL`), and after DNS rebinding a
      // page may send that. `Host` no page can set. Where a request was made in this process it has none.
      const called = [new URL(c.req.url).hostname, hostnameIn(c.req.header("host"))]
      if (!called.every((name) => name === undefined || hosts.includes(name)))
        throw new ProblemError("misdirected", "This part does not serve that host.")
      await next()
    })
  }

  app.get("/healthz", (c) => c.json({ ok: true }))
  app.get("/openapi.json", (c) => c.json(openApi()))

  app.use("/v1/*", async function withEdge(c, next) {
    c.set("edge", edgeOf(c.env))
    await next()
  })
  invalidationRoutes(app)
  epochRoutes(app)
  hookRoutes(app)
  explainRoutes(app)

  app.notFound((c) => {
    const allowed = METHODS.filter((method) =>
      app.router.match(method, c.req.path)[0].some(([[, route]]) => !isWildcard(route.path)),
    )
    if (allowed.length > 0) {
      throw new ProblemError("method_not_allowed", `${c.req.method} is not allowed here.`, {
        headers: { allow: allowed.join(", ") },
      })
    }
    throw new ProblemError("not_found", "There is nothing here.")
  })
  return app
}

/** The name in a `Host` header, in small letters and without its port; undefined where there is no header. */
const hostnameIn = (header: string | undefined): string | undefined =>
  header?.toLowerCase().replace(/:\d*$/, "")

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]

const isWildcard = (path: string): boolean => path.endsWith("*")
