import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { Pool } from "undici"
import type { ConfigInput } from "../../protocol/config/schema.ts"
import { publishScript } from "../../protocol/scripts.gen.ts"
import { hashToken, newToken } from "../../protocol/tokens.ts"
import type { Contender } from "../support/rounds.ts"
import { bundled, type Part, root, type Stage } from "../support/stage.ts"
import { startVendor, type Vendor } from "../support/vendor.ts"
import type { BullMqSettingName } from "./bullmq.ts"

/** More than are ever under way at once, so that no publish waits for another here. */
const CONNECTIONS = 64

/** A way from a publish to the vendor's call. */
export interface Chain extends Contender {
  readonly vendor: Vendor
  /** All processes that it runs on, the vendor and the publisher excepted. */
  readonly pids: readonly number[]
  /** Whoever calls the vendor, where that is a process of its own. */
  readonly consumer?: Consumer
  /** Resolves once it is acknowledged. @throws when it is not, within the patience */
  publish(tag: string): Promise<void>
}

export interface Consumer {
  readonly part: Part
  start(): Promise<Part>
}

export const NAMES = {
  tidemark: "Tidemark",
  bare: "bare chain",
  defaults: "BullMQ, defaults",
  tuned: "BullMQ, tuned",
  edge: "edge + BullMQ, tuned",
  naive: "naive handler",
} as const

interface Started {
  readonly vendor: Vendor
  readonly url: string
  readonly token?: string
  readonly consumer?: Consumer
}

/** Starts one after another, to tell whose process is whose. @param patience in milliseconds, for one publish */
export async function startChains(stage: Stage, patience: number): Promise<readonly Chain[]> {
  const [bareScript, edgeScript, naiveScript] = await Promise.all(
    ["bench/bare/worker.ts", "bench/peers/edge.ts", "bench/peers/naive.ts"].map(bundled),
  )
  const vendorOf = async (tagsOf: (body: unknown) => readonly string[]): Promise<Vendor> => {
    const vendor = await startVendor(tagsOf)
    stage.onClose(() => vendor.close())
    return vendor
  }
  const plain = () => vendorOf((body) => (body as { tags: string[] }).tags)
  const consumerOf = async (start: () => Promise<Part>): Promise<Consumer> => ({ part: await start(), start })

  const [shared, sharedPids] = await withPids(async () => {
    const redis = await stage.redis()
    // The bare chain names the script by its digest alone.
    await (await stage.client(redis.url)).scriptLoad(publishScript.text)
    return { redis, gateway: await stage.gateway(redis.url) }
  })

  const tidemark = async (): Promise<Started> => {
    const vendor = await vendorOf((body) => (body as { data: { tags: string[] } }).data.tags)
    const token = newToken()
    const config: ConfigInput = {
      tokens: [{ name: "bench", sha256: await hashToken(token), scopes: ["publish:*"] }],
      namespaces: { blog: {} },
      targets: {
        cdn: { type: "http", url: vendor.url, secret: { secret: "CDN_SECRET" }, namespaces: ["*"] },
      },
    }
    const CDN_SECRET = `whsec_${Buffer.alloc(24, 1).toString("base64")}`
    const worker = await stage.tidemarkWorker(config, shared.gateway)
    const consumer = await consumerOf(() => stage.relay(config, shared.redis.url, { CDN_SECRET }))
    return { vendor, url: `${worker.url}/v1/invalidations`, token, consumer }
  }

  const bare = async (): Promise<Started> => {
    const vendor = await plain()
    const { url } = await stage.worker(bareScript ?? "", {
      REST_URL: shared.gateway.url,
      REST_TOKEN: shared.gateway.token,
      SHA1: publishScript.sha1,
    })
    const script = join(root, "bench/bare/subscriber.ts")
    return {
      vendor,
      url,
      consumer: await consumerOf(() => stage.node([script, shared.redis.url, vendor.url])),
    }
  }

  const bullMq = async (setting: BullMqSettingName): Promise<Started> => {
    const vendor = await plain()
    const redis = await stage.redis()
    const [handler, worker] = ["handler", "worker"].map((part) => join(root, `bench/peers/bullmq-${part}.ts`))
    const { said } = await stage.node([handler ?? "", redis.url, setting])
    const start = () => stage.node([worker ?? "", redis.url, setting, vendor.url])
    return { vendor, url: said, consumer: await consumerOf(start) }
  }

  const edge = async (): Promise<Started> => {
    const behind = await bullMq("tuned")
    const { url } = await stage.worker(edgeScript ?? "", { HANDLER_URL: behind.url })
    return { ...behind, url }
  }

  const naive = async (): Promise<Started> => {
    const vendor = await plain()
    return { vendor, ...(await stage.worker(naiveScript ?? "", { VENDOR_URL: vendor.url })) }
  }

  const chain = async (
    name: string,
    start: () => Promise<Started>,
    others: readonly number[] = [],
  ): Promise<Chain> => {
    const [{ vendor, url, token, consumer }, pids] = await withPids(start)
    return {
      name,
      vendor,
      pids: [...others, ...pids],
      publish: poster(stage, url, token, patience),
      ...(consumer && { consumer }),
    }
  }
  return [
    await chain(NAMES.tidemark, tidemark, sharedPids),
    await chain(NAMES.bare, bare, sharedPids),
    await chain(NAMES.defaults, () => bullMq("defaults")),
    await chain(NAMES.tuned, () => bullMq("tuned")),
    await chain(NAMES.edge, edge),
    await chain(NAMES.naive, naive),
  ]
}

function poster(stage: Stage, url: string, token: string | undefined, patience: number): Chain["publish"] {
  const { origin, pathname } = new URL(url)
  const pool = new Pool(origin, { connections: CONNECTIONS, headersTimeout: patience })
  stage.onClose(() => pool.destroy())
  const headers = {
    "content-type": "application/json",
    ...(token !== undefined && { authorization: `Bearer ${token}` }),
  }
  return async (tag) => {
    const { statusCode, body } = await pool.request({
      path: pathname,
      method: "POST",
      headers,
      body: JSON.stringify({ namespace: "blog", tags: [tag] }),
    })
    await body.dump()
    if (statusCode !== 202) throw new Error(`${tag}: the publish was answered ${statusCode}`)
  }
}

/** What it starts, and the processes that are there since. */
async function withPids<T>(start: () => Promise<T>): Promise<[T, readonly number[]]> {
  const before = new Set(await descendants(process.pid))
  const started = await start()
  return [started, (await descendants(process.pid)).filter((pid) => !before.has(pid))]
}

/** Processes below one; of none where there is no Linux to tell. */
async function descendants(pid: number): Promise<readonly number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "")
  const children = text.split(" ").filter(Boolean).map(Number)
  return [...children, ...(await Promise.all(children.map(descendants))).flat()]
}
