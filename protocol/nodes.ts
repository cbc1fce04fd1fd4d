import { parseJson } from "./receipt.ts"

/**
 * A target may stand for several caches that know nothing of each other, such as the nodes of a Varnish. Each of them
 * has a lane of its own, and with it a cursor, receipts and retries: what one node lacks is nobody else's matter. Such
 * a lane is named `<target>@<node>`; where there is one cache the lane has the target's own name, which holds no `@`.
 *
 * Which nodes a target has, a relay alone can tell, as names are looked up: it writes them to `nodesKey`.
 */

/** The name of a lane in keys and cursors. */
export const laneOf = (target: string, node?: string): string =>
  node === undefined ? target : `${target}@${node}`

export const targetOf = (lane: string): string => lane.split("@", 1)[0] ?? lane

export const nodeOf = (lane: string): string | undefined =>
  lane.includes("@") ? lane.slice(lane.indexOf("@") + 1) : undefined

/** A field of `nodesKey`: the nodes of a target; none where it has one lane. */
export function readNodes(text: string | undefined): readonly string[] {
  const nodes = parseJson<unknown>(text)
  return Array.isArray(nodes) ? nodes.filter((node) => typeof node === "string") : []
}

/** The lanes of a target whose nodes are these. */
export const lanesOf = (target: string, nodes: readonly string[]): readonly string[] =>
  nodes.length === 0 ? [target] : nodes.map((node) => laneOf(target, node))
