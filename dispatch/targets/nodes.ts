import { baseAddress, tidy } from "./answer.ts"
import type { Outcome } from "./target.ts"

/** Caches on nodes that know nothing of each other: each is asked, and a batch is accepted when all of them took it. */

export interface Node {
  /** What paths are added to. */
  readonly base: string
  readonly host: string
}

/**
 * The nodes of a configuration; `endpoint`, where given, is a broadcaster that stands for all of them.
 *
 * @throws {TypeError} naming the option, for what is no address
 */
export const nodesOf = (endpoints: readonly string[], endpoint?: string): readonly Node[] =>
  endpoint === undefined
    ? endpoints.map((text, index) => baseAddress(`endpoints.${index}`, text))
    : [baseAddress("endpoint", endpoint)]

export interface NodeAnswer {
  readonly outcome: Outcome
  /** How many objects it dropped, where it says so. */
  readonly purged?: string
}

/** Makes every request at every node, all at once. */
export async function askNodes<Request>(
  nodes: readonly Node[],
  requests: readonly Request[],
  send: (node: Node, request: Request) => Promise<NodeAnswer>,
): Promise<Outcome> {
  return together(await Promise.all(nodes.flatMap((node) => requests.map((request) => send(node, request)))))
}

/**
 * What became of a batch at all nodes together: the worst that any of them answered. Trouble first, as every node is
 * asked again then in any case. Credentials before a refusal: cutting up a batch that one node would take from nobody
 * makes dead letters of all of it.
 */
function together(answers: readonly NodeAnswer[]): Outcome {
  const outcomes = answers.map(({ outcome }) => outcome)
  const detail = tidy(outcomes.flatMap((each) => ("detail" in each ? [each.detail] : [])).join("; "))
  const troubles = outcomes.filter((each) => each.outcome === "trouble")
  if (troubles[0]) {
    const pauses = troubles.flatMap((each) => each.retryAfter ?? [])
    return { ...troubles[0], detail, ...(pauses.length > 0 ? { retryAfter: Math.max(...pauses) } : {}) }
  }
  const worst =
    outcomes.find((each) => each.outcome === "unauthorised") ??
    outcomes.find((each) => each.outcome === "refused")
  if (worst) return { ...worst, detail }
  const counts = answers.map(({ purged }) => purged ?? "-")
  const status = outcomes.find((each) => each.outcome === "accepted")?.status ?? 200
  return {
    outcome: "accepted",
    status,
    ...(answers.some((each) => each.purged) ? { vendorId: counts.join(",") } : {}),
  }
}
