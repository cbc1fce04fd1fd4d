import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest"
import { startVarnish } from "../../cli/servers/varnish.ts"
import { FAST, SHARED, valueOf } from "../../dispatch/targets/conformance.ts"
import type { Batch, Outcome } from "../../dispatch/targets/target.ts"
import { varnish } from "../../dispatch/targets/varnish.ts"
import { type CacheNode, startCacheNode } from "../support/cache-node.ts"

/** Whoever answers a PURGE without having purged is believed by nobody: real Varnishes with a VCL of others before ours. */

/** It answers 200 to whatever it is asked, as many sites do. */
let site: CacheNode
let backend: { host: string; port: number }

beforeAll(async () => {
  site = await startCacheNode()
  site.isMarked = false
  backend = { host: "127.0.0.1", port: Number(new URL(site.url).port) }
})
afterAll(() => site.stop())

const BATCHES: readonly [string, Batch][] = [
  ["a tag", { ...FAST, mode: "purge", values: [valueOf("tag", "post-1")] }],
  ["a tag softly", { ...FAST, mode: "invalidate", values: [valueOf("tag", "post-1")] }],
  ["a url softly", { ...FAST, mode: "invalidate", values: [valueOf("url", "https://www.example.com/p")] }],
  ["a host", { ...FAST, mode: "purge", values: [valueOf("host", "www.example.com")] }],
  ["everything", { ...FAST, mode: "purge", values: [valueOf("everything", "*")] }],
]

const ask = (url: string, batch: Batch): Promise<Outcome> =>
  varnish
    .create({ type: "varnish", endpoints: [url], ...SHARED }, { fetch, now: () => Date.now() })
    .purge(batch, AbortSignal.timeout(10_000))

const PURGES = 'sub vcl_recv { if (req.method == "PURGE" || req.method == "BAN") { return (purge); } }'
const BANS = `import std;
sub vcl_recv {
  if (req.method == "PURGE" || req.method == "BAN") {
    std.ban("req.url == " + req.url);
    return (synth(200, "Banned"));
  }
}`
const PASSES = "sub vcl_recv { return (pass); }"
const HASHES = 'sub vcl_recv { if (req.method == "PURGE" || req.method == "BAN") { return (hash); } }'

describe.each([
  ["that purges by itself", `${PURGES}\ninclude "tidemark.vcl";\n`],
  ["that bans by itself", `${BANS}\ninclude "tidemark.vcl";\n`],
  ["that looks it up as a page", `${HASHES}\ninclude "tidemark.vcl";\n`],
  ["that passes all on to the site", `${PASSES}\ninclude "tidemark.vcl";\n`],
  ["without ours", PASSES],
])("a VCL %s", (_, vcl) => {
  it("is believed nothing", async () => {
    const running = await startVarnish({ backend, vcl })
    onTestFinished(() => running.stop())
    for (const [what, batch] of BATCHES) {
      const outcome = await ask(running.url, batch)
      expect([what, outcome]).toMatchObject([what, { outcome: "unauthorised", mend: ["endpoints"] }])
    }
  })
})

it("nor is the site itself", async () => {
  for (const [what, batch] of BATCHES)
    expect([what, (await ask(site.url, batch)).outcome]).toEqual([what, "unauthorised"])
})

it("our own is, for each of them", async () => {
  const running = await startVarnish({ backend })
  onTestFinished(() => running.stop())
  for (const [what, batch] of BATCHES)
    expect([what, (await ask(running.url, batch)).outcome]).toEqual([what, "accepted"])
})
