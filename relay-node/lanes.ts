import { setImmediate } from "node:timers/promises"
import type { Clock } from "../dispatch/clock.ts"
import { Lane, type LaneEvents } from "../dispatch/lane.ts"
import { accountOf, pacesOf } from "../dispatch/limits.ts"
import { readMirror } from "../dispatch/mirror.ts"
import { createPacer } from "../dispatch/pace.ts"
import { Turns } from "../dispatch/slices.ts"
import { findDriver } from "../dispatch/targets/list.ts"
import type { VendorFetch } from "../dispatch/targets/target.ts"
import { type Resolved, servesTenant, tenantsOf } from "../protocol/config/config.ts"
import type { Config, TargetConfig } from "../protocol/config/schema.ts"
import { lanesKey, nodesKey } from "../protocol/keys.ts"
import type { LogEntry } from "../protocol/log.ts"
import { lanesOf } from "../protocol/nodes.ts"
import type { LaneStatus } from "../protocol/receipt.ts"
import type { Command, Store } from "../protocol/store.ts"
import type { RelayEmitter } from "./events.ts"
import { fixedNodes, isName, type NodeAddress, watchNodes } from "./node-addresses.ts"

export interface LanesOptions {
  readonly config: Config
  readonly resolved: Resolved<Config>
  readonly store: Store
  readonly clock: Clock
  readonly relay: string
  readonly fetch: VendorFetch
  readonly events: RelayEmitter
  readonly onCommit: (lane: Lane, entries: readonly LogEntry[]) => void
  /** A tenant has other lanes than before, which are to be looked at. */
  readonly onNodes: (tenant: string) => void
}

/** The nodes of one target; undefined: it is one cache, with one lane. */
interface TargetNodes {
  /** Empty while a name was not looked up yet. */
  nodes: readonly NodeAddress[] | undefined
  trouble: string | undefined
}

/**
 * The lanes of this relay: one for each tenant and target, or for each node of a target that stands for several caches.
 * Those of names come and go while it runs.
 */
export class Lanes {
  readonly #options: LanesOptions
  readonly #targets = new Map<string, TargetNodes>()
  readonly #lanes = new Map<string, Lane>()
  readonly #ending = new Set<Promise<void>>()
  /** Tenants of which Redis does not know yet which nodes there are. */
  readonly #untold: Set<string>
  readonly #watching: Promise<unknown>
  readonly #turns = new Turns(setImmediate)

  /** @param signal no name is looked up any more */
  constructor(options: LanesOptions, signal: AbortSignal) {
    this.#options = options
    const { config, resolved, clock } = options
    const watches: Promise<void>[] = []
    for (const [target, { endpoints }] of Object.entries(resolved.targets).map(
      ([name, one]) => [name, { endpoints: endpointsOf(one) }] as const,
    )) {
      const known: TargetNodes = { nodes: nodesAtOnce(endpoints), trouble: undefined }
      this.#targets.set(target, known)
      if (!endpoints.some(isName)) continue
      const onNodes = (nodes: readonly NodeAddress[]) => {
        // A name that leads to one node is one cache: its lane is the target's own.
        known.nodes =
          nodes.length === 1 && endpoints.every((one) => !one.startsWith("dns:")) ? undefined : nodes
        this.#renew(target)
        for (const tenant of tenantsOf(config)) if (this.#serves(tenant, target)) options.onNodes(tenant)
        const told = { target, nodes: nodes.map(({ node }) => node) }
        options.events.emit("target:nodes", told)
      }
      const onTrouble = (trouble: string | undefined) => {
        known.trouble = trouble
        for (const tenant of tenantsOf(config)) this.#untold.add(tenant)
        options.events.emit("target:unknown", { target, detail: trouble })
      }
      watches.push(watchNodes({ endpoints, clock, signal, onNodes, onTrouble }))
    }
    this.#untold = new Set(tenantsOf(config))
    this.#watching = Promise.all(watches)
    for (const target of this.#targets.keys()) this.#renew(target)
  }

  get all(): readonly Lane[] {
    return [...this.#lanes.values()]
  }

  of(tenant: string): readonly Lane[] {
    return this.all.filter((lane) => lane.tenant === tenant)
  }

  /** Of one target; empty while its name leads nowhere. */
  ofTarget(tenant: string, target: string): readonly Lane[] {
    return this.of(tenant).filter((lane) => lane.name === target)
  }

  /** Names of a target's nodes; undefined where it is one cache. */
  nodesOf(target: string): readonly string[] | undefined {
    return this.#targets.get(target)?.nodes?.map(({ node }) => node)
  }

  /** Why a target has no lane, or not all of them. */
  troubleOf(target: string): string | undefined {
    return this.#targets.get(target)?.trouble
  }

  /** Says in Redis which nodes there are, for whoever tells what became of an invalidation. @throws {StoreError} */
  async tell(tenant: string): Promise<void> {
    if (!this.#untold.delete(tenant)) return
    const { store, clock } = this.#options
    const commands = [...this.#targets].flatMap(([target, { nodes, trouble }]): Command[] => {
      if (!this.#serves(tenant, target)) return []
      const names = (nodes ?? []).map(({ node }) => node)
      const status: LaneStatus = {
        state: "retrying",
        since: clock.now(),
        attempts: 1,
        ...(trouble === undefined ? {} : { error: trouble }),
      }
      return [
        names.length === 0
          ? ["HDEL", nodesKey(tenant), target]
          : ["HSET", nodesKey(tenant), target, JSON.stringify(names)],
        // Not while it is looked up for the first time, which is no trouble.
        ...(nodes?.length === 0 && trouble !== undefined
          ? [["HSET", lanesKey(tenant), target, JSON.stringify(status)]]
          : []),
        ...(names.length > 0 ? [["HDEL", lanesKey(tenant), target]] : []),
      ]
    })
    try {
      if (commands.length > 0) await store.pipeline(commands)
    } catch (error) {
      this.#untold.add(tenant)
      throw error
    }
  }

  /** Begins no further call; resolves when those under way have finished. */
  async close(): Promise<void> {
    await Promise.all([...this.all.map((lane) => lane.close()), ...this.#ending, this.#watching])
  }

  #serves(tenant: string, target: string): boolean {
    const found = this.#options.config.targets[target]
    return found !== undefined && servesTenant(found, tenant)
  }

  /** Starts the lanes that a target has now, and ends those that it no longer has. */
  #renew(target: string): void {
    const { nodes } = this.#targets.get(target) ?? {}
    for (const tenant of tenantsOf(this.#options.config)) {
      if (!this.#serves(tenant, target)) continue
      this.#untold.add(tenant)
      const wanted = new Map(
        nodes?.length === 0
          ? []
          : lanesOf(
              target,
              (nodes ?? []).map(({ node }) => node),
            ).map((id, at) => [id, nodes?.[at]]),
      )
      for (const lane of this.ofTarget(tenant, target)) {
        if (!wanted.has(lane.id)) this.#end(lane)
      }
      for (const [id, node] of wanted) {
        const key = `${tenant}/${id}`
        const lane = this.#lanes.has(key) ? undefined : this.#create(tenant, target, node)
        if (lane) this.#lanes.set(key, lane)
      }
    }
  }

  #end(lane: Lane): void {
    this.#lanes.delete(`${lane.tenant}/${lane.id}`)
    const ending = lane.close().finally(() => this.#ending.delete(ending))
    this.#ending.add(ending)
  }

  #create(tenant: string, name: string, address: NodeAddress | undefined): Lane | undefined {
    const { config, resolved, store, clock, relay, events, fetch } = this.#options
    const [target, secret] = [config.targets[name], resolved.targets[name]]
    const driver = secret && findDriver(secret.type)
    if (!target || !secret || !driver) return undefined
    const account = accountOf(name, target)
    const node = address?.node
    const of = { tenant, target: name, type: target.type, ...(node === undefined ? {} : { node }) }
    const emit = <K extends keyof LaneEvents>(event: K, payload: LaneEvents[K]) =>
      events.lane(event, { ...of, ...payload })
    const lane: Lane = new Lane({
      tenant,
      name,
      node,
      config,
      target,
      capabilities: driver.capabilities(secret),
      driver: driver.create(atNode(secret, address), {
        fetch,
        now: () => clock.now(),
        readEpochs: () => readMirror(store, { tenant, config, patterns: target.namespaces }, clock.now()),
        print: (line) => events.log.info({ tenant, target: name }, line),
      }),
      pacer: createPacer({
        store,
        clock,
        account,
        paces: pacesOf(driver, secret),
        onWait: (length) => events.emit("pace:waited", { account, length }),
      }),
      store,
      clock,
      relay,
      turns: this.#turns,
      emit,
      onCommit: (entries) => this.#options.onCommit(lane, entries),
    })
    return lane
  }
}

/** The addresses that a target lists of its nodes; none where it is one cache by itself, or a broadcaster stands for all. */
function endpointsOf(target: Resolved<TargetConfig>): readonly string[] {
  if (target.endpoint !== undefined || !("endpoints" in target) || target.endpoints === "dev") return []
  return typeof target.endpoints === "string" ? [target.endpoints] : target.endpoints
}

/** What is known of a target's nodes before anything was looked up. */
function nodesAtOnce(endpoints: readonly string[]): readonly NodeAddress[] | undefined {
  if (endpoints.some(isName)) return []
  return endpoints.length > 1 ? fixedNodes(endpoints) : undefined
}

/** The configuration of a target as the driver of one of its nodes is made from it. */
const atNode = (target: Resolved<TargetConfig>, address: NodeAddress | undefined): Resolved<TargetConfig> =>
  address && "endpoints" in target ? { ...target, endpoints: [address.endpoint] } : target

/** What a driver would not take of a target's configuration, a sentence each: secrets come from outside any schema. */
export function targetFaults({ targets }: Resolved<Config>): string[] {
  return Object.entries(targets).flatMap(([name, target]) => {
    const endpoints = endpointsOf(target)
    const nodes = endpoints.map((endpoint, index) => ({ endpoint, node: `endpoints.${index}` }))
    // A name has no address yet; whatever it leads to is one.
    const asked = nodes.filter(({ endpoint }) => !endpoint.startsWith("dns:"))
    const made = endpoints.length === 0 ? [undefined] : asked.length === 0 ? [ANY_NODE] : asked
    return made.flatMap((address) => {
      try {
        findDriver(target.type)?.create(atNode(target, address), { fetch, now: () => 0 })
        return []
      } catch (error) {
        if (!(error instanceof TypeError)) throw error
        const detail = address ? error.message.replace(/^endpoints\b/, address.node) : error.message
        return [`targets.${name}: ${detail}`]
      }
    })
  })
}

const ANY_NODE: NodeAddress = { node: "endpoints", endpoint: "http://[::]" }
