import { type Answer, baseAddress, byStatus } from "./answer.ts"
import type { Outcome } from "./target.ts"
import type { Milliseconds } from "../../protocol/time.ts"

/**
 * Caches of one's own, on nodes that know nothing of each other. A driver is made for one of them: each node has a lane
 * of its own, so that one that is down or odd delays and widens nothing at the others.
 */

export interface Node {
  /** What paths are added to. */
  readonly base: string
  readonly host: string
}

/**
 * The node that a driver is made for; `endpoint`, where given, is a broadcaster that stands for all of them.
 *
 * @throws {TypeError} naming the option, for what is no address, and for more than one
 */
export function theNode(endpoints: string | readonly string[], endpoint?: string): Node {
  if (endpoint !== undefined) return baseAddress("endpoint", endpoint)
  const [first = "", ...others] = typeof endpoints === "string" ? [endpoints] : endpoints
  if (others.length > 0) throw new TypeError("endpoints: a driver is made for one node")
  return baseAddress("endpoints", first)
}

/**
 * What a server in front says of a request that is too long or not to its liking, of which parts may be. Where all of
 * them are refused as well, and what is wider too, `carry-out.ts` takes it for what it is.
 */
const ABOUT_THE_REQUEST: readonly number[] = [400, 413, 414, 431]

/**
 * What an answer means that was not proven to be our part's at the node: never a success.
 *
 * @param lacking what is missing in it, in a few words for people
 * @param mend where to look, as options of the target
 */
export function unproven(
  node: Node,
  answer: Answer,
  now: Milliseconds,
  lacking: string,
  mend: readonly string[] = ["endpoints"],
): Outcome {
  const { status } = answer
  const outcome = byStatus(node.host, answer, now, lacking)
  if (outcome.outcome === "trouble" || ABOUT_THE_REQUEST.includes(status)) return outcome
  return { outcome: "unauthorised", status, detail: `${node.host} answered ${status}: ${lacking}`, mend }
}
