import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { logKey } from "../../protocol/keys.ts"
import { startEdge } from "../support/edge.ts"
import { slowNetwork } from "../support/netem.ts"
import { type Proxy, startProxy } from "../support/proxy.ts"
import type { Counted, Scenario, ScenarioContext, Skipped } from "./scenario.ts"
import { insist } from "./waiting.ts"
import { openWorld } from "./world.ts"

const CHANGES = 100
const BEFORE = 10

async function slowly(context: ScenarioContext, weather: Parameters<Proxy["weather"]>[0]): Promise<Counted> {
  await using world = await openWorld(context, { hasPlain: true })
  world.front.weather(weather)
  await world.relay()
  for (let change = 0; change < CHANGES; change += 1) await world.publish(1)
  world.over()
  return await world.count()
}

/** All of the scenario, its processes too, in a network of its own; it prints what it counted. */
async function inSlowNetwork(): Promise<Counted | Skipped> {
  const network = await slowNetwork()
  if (typeof network === "string") return { skipped: network }
  const [file = "", ...args] = network
  const main = fileURLToPath(new URL("main.ts", import.meta.url))
  const run = [...args, process.execPath, main, "--inside", "slow-kernel"]
  return new Promise((told, fail) => {
    execFile(file, run, (error, stdout, stderr) => {
      if (error) fail(new Error(stderr.slice(-2_000), { cause: error }))
      else told(JSON.parse(stdout) as Counted)
    })
  })
}

/** A Worker whose REST call is answered after it gave up waiting: its retry must not publish once more. */
async function answerLost(context: ScenarioContext): Promise<Counted> {
  const proxies: Proxy[] = []
  const edge = await startEdge({
    config: { namespaces: { blog: {} } },
    scopes: { deploy: ["publish:*"] },
    between: async (gatewayUrl) => {
      const proxy = await startProxy(gatewayUrl, { isRaw: true })
      proxies.push(proxy)
      return proxy.url.replace("redis:", "http:")
    },
  })
  const [proxy] = proxies
  try {
    if (!proxy) throw new Error("the Worker was not led through a proxy")
    await using world = await openWorld(context)
    await world.follow(edge.redis)
    world.front.lead(edge.redis.url)
    await world.relay()
    // The script is known to Redis then: else the answer that gets lost first is that it is not.
    await world.publish(BEFORE)
    await world.level()
    const rounds = context.isShort ? 2 : 10
    for (let round = 0; round < rounds; round += 1) {
      const tag = world.tag()
      const length = async (): Promise<number> => Number(await world.command("XLEN", logKey("default")))
      const before = await length()
      const { swallowed } = proxy
      proxy.swallow(true)
      const answer = edge.call("POST", "/v1/invalidations", {
        token: edge.tokens["deploy"] ?? "",
        body: { namespace: "blog", tags: [tag] },
      })
      await insist("the publish was recorded, and its answer lost", async () => {
        return (await length()) > before && proxy.swallowed > swallowed
      })
      proxy.swallow(false)
      const { status, json } = await answer
      if (status !== 202) throw new Error(`the Worker answered ${status}`)
      world.note({ tag, namespace: json.namespace, acknowledgedAt: Date.now() })
      const entries = (await length()) - before
      if (entries !== 1) return { ...(await world.count()), faults: [`one publish made ${entries} entries`] }
    }
    world.over()
    return await world.count()
  } finally {
    await edge.stop()
    await proxy?.[Symbol.asyncDispose]()
  }
}

export const NETWORK: readonly Scenario[] = [
  {
    name: "rest-answer-lost",
    title: "The answer to the Worker's REST call is lost after the commit; the Worker asks once more",
    isQuick: false,
    run: answerLost,
  },
  {
    name: "slow-link",
    title:
      "100 ms with 20 ms jitter each way between relay and Redis, 2 % of packets sent twice (by a proxy)",
    isQuick: false,
    run: (context) => slowly(context, { delay: 100, jitter: 20, loss: 0.02 }),
  },
  {
    name: "slow-network",
    title: "100 ms with 20 ms jitter and 2 % loss on every path (`tc netem`)",
    isQuick: false,
    run: inSlowNetwork,
  },
]

/** What runs within the network that `slow-network` makes. */
export const SLOW_KERNEL: Scenario = {
  name: "slow-kernel",
  title: "",
  isQuick: false,
  run: (context) => slowly(context, {}),
}
