// What infra/redis says of Redis's settings, and infra/docker sets: held against the longest url that there may be, on a
// real Redis. What they cost is measured by bench/bytes.ts.
import { createClient } from "redis"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { startRedis } from "../../cli/servers/redis.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import { tagsKey } from "../../protocol/keys.ts"
import { checkUrl, URL_TAG } from "../../protocol/selector.ts"
import { type OpenStore, openStore, publisher } from "../support/publish.ts"
import { allIn, read } from "./repository.ts"

/** Each once, however often the file says it. */
const settingsIn = (file: string): string[] => [...new Set(allIn(read(file), /(--zset-[\w-]+ \d+)/g))]

const settings = settingsIn("infra/docker/compose.yaml")
const valueOf = (name: string) =>
  Number(settings.find((setting) => setting.startsWith(`--${name} `))?.split(" ")[1])
const MOST = valueOf("zset-max-listpack-entries")

const SITE = "https://www.example.com/"
const urlOf = (length: number) => SITE.padEnd(length, "a")
/** The longest that can be published. */
const LONGEST = Array.from({ length: 4_096 }, (_, nth) => urlOf(nth + SITE.length)).findLast(
  (url) => "value" in checkUrl(url),
)!

describe("the settings of Redis for sorted sets", () => {
  let redis: Awaited<ReturnType<typeof startRedis>>
  let admin: ReturnType<typeof createClient>
  let open: OpenStore

  beforeAll(async () => {
    redis = await startRedis({ args: settings.flatMap((setting) => setting.split(" ")) })
    admin = createClient({ url: redis.url, RESP: 2 })
    await admin.connect()
    open = await openStore(redis.url)
  })
  afterAll(async () => {
    open.close()
    admin.destroy()
    await redis.stop()
  })

  it("are the same in infra/redis", () => {
    expect(settings).toHaveLength(2)
    expect(settingsIn("infra/redis/README.md")).toEqual(settings)
  })

  it("leave room for the longest url, and for no more", () => {
    expect(valueOf("zset-max-listpack-value")).toBe(URL_TAG.length + LONGEST.length)
  })

  it("keep a namespace packed, whatever it holds, up to their number of tags", async () => {
    const config = parseConfig({ namespaces: { site: { hosts: ["www.example.com"] } } })
    const { publish } = publisher(open.store, config)
    const tags = (from: number, to: number) =>
      Array.from({ length: to - from }, (_, nth) => `t-${from + nth}`)
    const encoding = () => admin.sendCommand(["OBJECT", "ENCODING", tagsKey("default", "site")])
    await publish({ namespace: "site", tags: tags(0, MOST - 1), urls: [LONGEST] })
    expect(await admin.zCard(tagsKey("default", "site"))).toBe(MOST)
    expect(await encoding()).toBe("listpack")
    await publish({ namespace: "site", tags: tags(MOST, MOST + 1) })
    expect(await encoding()).toBe("skiplist")
  })
})
