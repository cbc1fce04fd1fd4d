import { createHash } from "node:crypto"
import * as fc from "fast-check"
import { createClient } from "redis"
import { afterAll, beforeAll, expect, it, vi } from "vitest"
import { startRedis } from "../../cli/servers/redis.ts"
import { type OpenStore, openStore } from "../support/publish.ts"
import { histories, settings } from "./history.ts"
import { judge } from "./judge.ts"
import { World } from "./world.ts"

/**
 * "Nothing is lost", held against random histories: real lanes, adoption, passes and scripts on a real Redis, where
 * everything that may go wrong does so at any step. No time passes but what a history says.
 *
 * `TIDEMARK_MODEL_RUNS`  how many histories
 * `TIDEMARK_MODEL_SEED`, `TIDEMARK_MODEL_PATH`  the very ones, as a failure printed them
 */
const { TIDEMARK_MODEL_RUNS, TIDEMARK_MODEL_SEED, TIDEMARK_MODEL_PATH } = process.env
const RUNS = Number(TIDEMARK_MODEL_RUNS ?? 600)
// The same ones every time, so that a test run is never a matter of luck; the long form goes where nobody was.
const SEED = Number(
  TIDEMARK_MODEL_SEED ?? (TIDEMARK_MODEL_RUNS === undefined ? 20_260_101 : Date.now() % 2 ** 31),
)
const [PATH, REPLAY] = (TIDEMARK_MODEL_PATH ?? "").split("@")

let redis: Awaited<ReturnType<typeof startRedis>>
let open: OpenStore
let mute: OpenStore

beforeAll(async () => {
  redis = await startRedis({ args: ["--enable-debug-command", "yes"] })
  const admin = createClient({ url: redis.url, RESP: 2 })
  admin.on("error", () => {})
  await admin.connect()
  await admin.sendCommand(["ACL", "SETUSER", "mute", "on", ">mute", "~*", "+@all", "resetchannels"])
  admin.destroy()
  open = await openStore(redis.url)
  mute = await openStore(redis.url.replace("redis://", "redis://mute:mute@"))
})

afterAll(async () => {
  open.close()
  mute.close()
  await redis.stop()
})

it(`loses nothing in ${RUNS} histories`, { timeout: 3_600_000 }, async () => {
  // The platform's own answers from another thread; a step is over when nothing but steps is left to wait for.
  const digest = vi.spyOn(crypto.subtle, "digest").mockImplementation(
    async (_, data) =>
      new Uint8Array(
        createHash("sha256")
          .update(data as Uint8Array)
          .digest(),
      ).buffer,
  )
  let failed: World | undefined
  let count = 0
  const property = fc.asyncProperty(settings, histories(REPLAY), async (setting, history) => {
    const world = new World(setting, { store: open.store, mute: mute.store })
    count += 1
    try {
      await world.begin()
      await fc.asyncModelRun(() => ({ model: world, real: world }), history)
      await world.rest()
      world.check()
      await judge(world)
    } catch (error) {
      failed = world
      throw error
    }
  })
  const began = Date.now()
  const details = await fc.check(property, {
    numRuns: RUNS,
    seed: SEED,
    ...(PATH ? { path: PATH } : {}),
  })
  digest.mockRestore()
  const minutes = (Date.now() - began) / 60_000
  process.stdout.write(`${count} histories, ${Math.round(count / minutes)} a minute, seed ${SEED}\n`)
  if (details.failed) {
    const counterexample = fc.stringify(details.counterexample)
    const replay = /replayPath="([^"]+)"/.exec(counterexample)?.[1]
    const path = [details.counterexamplePath, replay].filter((part) => part).join("@")
    const { errorInstance } = details
    expect.fail(
      [
        errorInstance instanceof Error ? errorInstance.message : String(errorInstance),
        `after ${details.numRuns} histories and ${details.numShrinks} shorter ones; once more: TIDEMARK_MODEL_SEED=${details.seed} TIDEMARK_MODEL_PATH=${path}`,
        counterexample,
        ...(TIDEMARK_MODEL_PATH === undefined ? [] : (failed?.trace ?? [])),
        errorInstance instanceof Error ? (errorInstance.stack ?? "") : "",
      ].join("\n"),
    )
  }
})
