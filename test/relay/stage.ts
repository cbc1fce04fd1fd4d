import { createClient } from "redis"
import { expect, onTestFinished } from "vitest"
import { type RedisOptions, startRedis } from "../../cli/servers/redis.ts"
import type { RunningServer } from "../../cli/servers/process.ts"
import { parseConfig } from "../../protocol/config/config.ts"
import type { ConfigInput } from "../../protocol/config/schema.ts"
import type { Position } from "../../protocol/epoch.ts"
import { type FakeVendor, fakeVendor } from "../support/fake-vendor.ts"
import { openStore, type Publisher, publisher } from "../support/publish.ts"
import {
  type RelayOptions,
  type RelayProcess,
  startRelayProcess,
  tokenConfig,
} from "../support/relay-process.ts"

/** As long as a slow machine needs; what is waited for has usually happened. */
export const poll = <T>(read: () => T): ReturnType<typeof expect.poll<T>> =>
  expect.poll(read, { timeout: 60_000, interval: 20 })

export interface Stage {
  readonly redis: RunningServer
  readonly admin: ReturnType<typeof adminOf>
  readonly vendor: FakeVendor
  readonly config: ConfigInput
  readonly secrets: Readonly<Record<string, string>>
  readonly press: Publisher
  /** A relay on this stage; it ends with its test. */
  readonly relay: (options?: Partial<RelayOptions>) => Promise<RelayProcess>
}

export interface StageOptions {
  readonly redis?: RedisOptions
  readonly config?: ConfigInput
}

const adminOf = (url: string) => createClient({ url, RESP: 2 })

/** A Redis, a vendor, and relays to come: all real, all of one test, and all gone with it. */
export async function stage({ redis: redisOptions, config: rest }: StageOptions = {}): Promise<Stage> {
  const redis = await startRedis(redisOptions)
  onTestFinished(() => redis.stop())
  const vendor = await fakeVendor()
  onTestFinished(async () => {
    await vendor[Symbol.asyncDispose]()
    expect(vendor.complaints).toEqual([])
  })
  const admin = adminOf(redis.url)
  admin.on("error", () => {})
  await admin.connect()
  const open = await openStore(redis.url)
  onTestFinished(() => {
    open.close()
    admin.destroy()
  })
  const config: ConfigInput = {
    tokens: await tokenConfig(),
    namespaces: { blog: { hosts: ["www.example.com"], wholeBy: "tag", overflowTag: false }, shop: {} },
    targets: {
      "www-cloudflare": {
        type: "cloudflare",
        zone: vendor.zone,
        token: { secret: "CLOUDFLARE_PURGE_TOKEN" },
        plan: "enterprise",
        endpoint: vendor.endpoint,
        namespaces: ["*"],
      },
    },
    // Shorter than by default, as nothing here is about how long these are.
    relay: { lease: "1s", poll: "1s" },
    ...rest,
  }
  const secrets = { CLOUDFLARE_PURGE_TOKEN: vendor.token, HOOK_SECRET: vendor.hookSecret }
  return {
    redis,
    admin,
    vendor,
    config,
    secrets,
    press: publisher(open.store, parseConfig(config)),
    async relay(options = {}) {
      const one = await startRelayProcess({ redisUrl: redis.url, config, env: secrets, ...options })
      onTestFinished(async () => {
        await one[Symbol.asyncDispose]()
        // Whatever happened to it, none of it was a crash, and none of it told a secret.
        expect(one.stderr()).not.toMatch(/unhandled|\n\s+at .*\.ts:\d+/i)
        for (const secret of Object.values(secrets)) expect(one.stdout() + one.stderr()).not.toContain(secret)
      })
      return one
    },
  }
}

export const tagsOf = (count: number): string[] => Array.from({ length: count }, (_, index) => `tag-${index}`)

/** Until every entry is done at every target it concerns. */
export async function done(press: Publisher, entries: readonly (Position | undefined)[]): Promise<void> {
  const epochs = entries.flatMap((entry) => entry?.epoch ?? [])
  expect(epochs).toHaveLength(entries.length)
  await poll(async () => {
    const states = (await press.records(epochs)).map(({ state }) => state)
    return states.filter((state) => state !== "done")
  }).toEqual([])
}
