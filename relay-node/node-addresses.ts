import dns from "node:dns"
import { Resolver } from "node:dns/promises"
import { isIP } from "node:net"
import type { Clock } from "../dispatch/clock.ts"
import { parseDns } from "../protocol/config/dns-name.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"

/**
 * Where the nodes of a target are. An endpoint is a node by its own address, or a name that leads to as many as there
 * are: `dns://varnish.svc:6081`, and `http://varnish.svc:6081` too where that has several addresses, since one purge
 * that reaches one of them in turn purges nothing.
 */

/** One cache: what people know it by, and what its driver calls. */
export interface NodeAddress {
  /** `10.0.0.7:6081`, with the path where there is one. */
  readonly node: string
  readonly endpoint: string
}

/** Ours: of answers that say nothing of how long they are good for, and of look-ups that failed. */
const DEFAULT_TTL: Milliseconds = 10 * SECOND
const FAILED_TTL: Milliseconds = 3 * SECOND
/** Ours: a name server that says 0 is not asked all the time, and one that says a day not only then. */
const TTL = { least: SECOND, most: 60 * SECOND } as const
const LOOK_UP = { timeout: 2 * SECOND, tries: 2 } as const

/** The nodes of a list in which every endpoint is one. */
export const fixedNodes = (endpoints: readonly string[]): readonly NodeAddress[] =>
  endpoints.map((endpoint) => ({ node: nodeName(endpoint), endpoint }))

function nodeName(endpoint: string): string {
  const { hostname, port, protocol, pathname } = new URL(endpoint)
  return `${hostname}:${port || (protocol === "https:" ? 443 : 80)}${pathname.replace(/\/$/, "")}`
}

/** Whether an endpoint may lead to more than one node. By https a node is known by its name alone. */
export function isName(endpoint: string): boolean {
  if (isDns(endpoint)) return true
  const { protocol, hostname } = new URL(endpoint)
  const host = hostname.replace(/^\[|\]$/g, "")
  return protocol === "http:" && isIP(host) === 0 && host !== "localhost"
}

const isDns = (endpoint: string): boolean => endpoint.startsWith("dns:")

interface Address {
  readonly address: string
  readonly family: 4 | 6
  readonly ttl: Milliseconds
}

interface Found {
  readonly nodes: readonly NodeAddress[]
  readonly ttl: Milliseconds
}

export interface WatchOptions {
  readonly endpoints: readonly string[]
  readonly clock: Clock
  /** Ends it. */
  readonly signal: AbortSignal
  /** Told at first and whenever they are others than before; never of none. */
  readonly onNodes: (nodes: readonly NodeAddress[]) => void
  /** A name could not be looked up, or leads nowhere: what was known of it still counts. Undefined: it can again. */
  readonly onTrouble: (detail: string | undefined) => void
}

/** Looks names up, again as often as their answers are good for, until the signal is aborted. Never rejects. */
export async function watchNodes({
  endpoints,
  clock,
  signal,
  onNodes,
  onTrouble,
}: WatchOptions): Promise<void> {
  const known = new Map<string, Found>()
  let [told, trouble]: [string, string | undefined] = ["", undefined]
  while (!signal.aborted) {
    const failures: string[] = []
    await Promise.all(
      endpoints.map(async (endpoint) => {
        try {
          known.set(endpoint, await nodesAt(endpoint))
        } catch (error) {
          failures.push(error instanceof NoNodes ? error.message : `${endpoint} could not be looked up`)
          // One that is a node by its name still is: the lane says what keeps it from that.
          if (!known.has(endpoint) && !isDns(endpoint))
            known.set(endpoint, { nodes: fixedNodes([endpoint]), ttl: DEFAULT_TTL })
        }
      }),
    )
    if (signal.aborted) return
    const found = endpoints.flatMap((endpoint) => known.get(endpoint)?.nodes ?? [])
    const nodes = [...new Map(found.map((one) => [one.node, one])).values()]
    const text = JSON.stringify(nodes.toSorted((a, b) => (a.node < b.node ? -1 : 1)))
    const failure = failures.length === 0 ? undefined : failures.join("; ")
    if (failure !== trouble) onTrouble(failure)
    if (nodes.length > 0 && text !== told) onNodes(nodes)
    ;[told, trouble] = [text, failure]
    const ttls = failure === undefined ? [...known.values()].map(({ ttl }) => ttl) : [FAILED_TTL]
    await clock.sleep(Math.min(TTL.most, Math.max(TTL.least, Math.min(...ttls))), signal)
  }
}

class NoNodes extends Error {}

/** The nodes that one endpoint leads to now. @throws where its name leads nowhere */
async function nodesAt(endpoint: string): Promise<Found> {
  if (isDns(endpoint)) return nodesOfName(endpoint)
  if (!isName(endpoint)) return { nodes: fixedNodes([endpoint]), ttl: TTL.most }
  const url = new URL(endpoint)
  const all = await systemAddressesOf(url.hostname)
  const ttl = leastOf(all)
  // A host with an address of either family is one node; several of one family are several.
  const several = ([4, 6] as const)
    .map((family) => all.filter((one) => one.family === family))
    .find((family) => family.length > 1)
  if (!several) return { nodes: fixedNodes([endpoint]), ttl }
  return {
    nodes: several.map(({ address, family }) => {
      const port = url.port === "" ? "" : `:${url.port}`
      return nodeAt(`${family === 6 ? `[${address}]` : address}${port}${url.pathname}`)
    }),
    ttl,
  }
}

const nodeAt = (rest: string): NodeAddress => {
  const endpoint = `http://${rest}`
  return { node: nodeName(endpoint), endpoint }
}

async function nodesOfName(endpoint: string): Promise<Found> {
  const asked = parseDns(endpoint)
  if (!asked) throw new NoNodes(`${endpoint} is no name`)
  const { name, port, server } = asked
  if (!name.startsWith("_")) {
    const found = await addressesOf(name, server)
    return { nodes: found.map((one) => nodeAt(withPort(one, port))), ttl: leastOf(found) }
  }
  const records = await resolverOf(server).resolveSrv(name)
  const found = await Promise.all(
    records.map(async (record) => ({ record, addresses: await addressesOf(record.name, server) })),
  )
  const nodes = found.flatMap(({ record, addresses }) =>
    addresses.map((one) => nodeAt(withPort(one, record.port))),
  )
  if (nodes.length === 0) throw new NoNodes(`${endpoint} leads nowhere`)
  return { nodes, ttl: leastOf(found.flatMap(({ addresses }) => addresses)) }
}

const withPort = ({ address, family }: Address, port: number): string =>
  `${family === 6 ? `[${address}]` : address}:${port}`

const leastOf = (addresses: readonly Address[]): Milliseconds => Math.min(...addresses.map(({ ttl }) => ttl))

function resolverOf(server: string | undefined): Resolver {
  const resolver = new Resolver(LOOK_UP)
  if (server !== undefined) resolver.setServers([server])
  return resolver
}

/**
 * All addresses of a name, of both families. By the name server, which says how long they are good for; where that
 * knows none by the system's own ways, as for a name that it completes or that stands in a file.
 */
async function addressesOf(name: string, server: string | undefined): Promise<readonly Address[]> {
  const resolver = resolverOf(server)
  const [four, six] = await Promise.allSettled([
    resolver.resolve4(name, { ttl: true }),
    resolver.resolve6(name, { ttl: true }),
  ])
  const of = (settled: typeof four, family: 4 | 6): Address[] =>
    settled.status === "rejected"
      ? []
      : settled.value.map(({ address, ttl }) => ({ address, family, ttl: ttl * SECOND }))
  const found = [...of(four, 4), ...of(six, 6)]
  if (found.length > 0) {
    // Half of an answer would make nodes come and go.
    const failed = [four, six].find((one) => one.status === "rejected" && !isNone(one.reason))
    if (failed) throw new NoNodes(`${name} could not be looked up`)
    return found
  }
  if (server !== undefined) throw new NoNodes(`${name} has no address at ${server}`)
  return systemAddressesOf(name)
}

function systemAddressesOf(name: string): Promise<readonly Address[]> {
  return new Promise((resolve, reject) => {
    dns.lookup(name, { all: true }, (error, known) => {
      if (error) reject(new NoNodes(`${name} has no address`))
      else
        resolve(
          known.map(({ address, family }) => ({ address, family: family === 6 ? 6 : 4, ttl: DEFAULT_TTL })),
        )
    })
  })
}

/** The name server answered that there is none of that kind. */
const isNone = (error: unknown): boolean =>
  error instanceof Error && "code" in error && (error.code === "ENODATA" || error.code === "ENOTFOUND")
