import type { AddressInfo } from "node:net"
import { serve } from "@hono/node-server"
import { Hono } from "hono"
import { expect, it } from "vitest"
import { epochCache, type EpochCacheWarning } from "./hono.ts"
import { MapCache } from "./testing/map-cache.ts"
import { Clock, ModelStore } from "./testing/model-store.ts"
import { createTidemark } from "./tidemark.ts"

// Left alone, the global `Request` knows nothing of the server's own kind of request.
it.each([true, false])(
  "a page behind @hono/node-server is revalidated with overrideGlobalObjects: %s",
  async (overrideGlobalObjects) => {
    const globals = { Request: globalThis.Request, Response: globalThis.Response }
    const clock = new Clock()
    const store = new ModelStore(clock)
    const warnings: EpochCacheWarning[] = []
    const app = new Hono()
    let made = 0
    app.use(
      epochCache({
        tidemark: createTidemark({ store, now: clock.now, random: () => 0 }),
        namespace: "blog",
        cache: new MapCache(),
        app,
        onWarning: (warning) => void warnings.push(warning),
      }),
    )
    app.get("*", (c) => c.text(`v${(made += 1)} ${c.req.query("page")}`))
    const server = serve({ fetch: app.fetch, port: 0, hostname: "127.0.0.1", overrideGlobalObjects })
    try {
      await new Promise((resolve) => server.once("listening", resolve))
      const { port } = server.address() as AddressInfo
      const visit = async () => (await fetch(`http://127.0.0.1:${port}/a?page=2`)).text()
      expect([await visit(), await visit()]).toEqual(["v1 2", "v1 2"])
      clock.time += 1
      store.record({ kind: "namespace", namespace: "blog" })
      clock.time += 10_000
      expect(await visit()).toBe("v1 2")
      await expect.poll(visit).toBe("v2 2")
      expect(warnings).toEqual([])
    } finally {
      server.close()
      Object.assign(globalThis, globals)
    }
  },
)
