import { lookup, type LookupAddress } from "node:dns"
import { BlockList, isIP } from "node:net"
import { Agent, fetch as undiciFetch } from "undici"

/** Addresses that no visitor reaches a site by: https://www.iana.org/assignments/iana-ipv4-special-registry/ and v6. */
const PRIVATE = new BlockList()
for (const [network, prefix] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
] as const) {
  PRIVATE.addSubnet(network, prefix, "ipv4")
}
for (const [network, prefix] of [
  ["::", 128],
  ["::1", 128],
  ["64:ff9b::", 96],
  ["fc00::", 7],
  ["fe80::", 10],
  ["ff00::", 8],
] as const) {
  PRIVATE.addSubnet(network, prefix, "ipv6")
}

/** Whether an address is one that only this network knows. */
export function isPrivateAddress(address: string): boolean {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  if (mapped !== undefined) return PRIVATE.check(mapped, "ipv4")
  return PRIVATE.check(address, isIP(address) === 6 ? "ipv6" : "ipv4")
}

/** A name that says by itself that it is this machine's or this network's. */
const isNamedSo = (hostname: string): boolean => hostname === "localhost" || hostname.endsWith(".localhost")

/**
 * A `fetch` for probing sites, which connects to no address of this machine or its network, whatever a name resolves
 * to: `localhost` and addresses written as such are for whoever configures them to name, and are let through.
 */
export function createProbeFetch(): { readonly fetch: typeof fetch; close(): Promise<void> } {
  const agent = new Agent({
    connect: {
      // Asked at each connection, so that a name which changes its mind in between is seen.
      lookup(hostname, options, answer) {
        lookup(hostname, { ...options, all: true }, (error: Error | null, found: LookupAddress[]) => {
          const barred = isNamedSo(hostname)
            ? undefined
            : found?.find(({ address }) => isPrivateAddress(address))
          if (error || barred) {
            answer(error ?? new Error("its name leads to an address of a private network"), "", 0)
            return
          }
          if (options.all) answer(null, found)
          else answer(null, found[0]?.address ?? "", found[0]?.family)
        })
      },
    },
  })
  return {
    fetch: ((input: string, init?: object) =>
      undiciFetch(input, { ...init, dispatcher: agent })) as unknown as typeof fetch,
    close: () => agent.destroy(),
  }
}
