import type { EntryBody } from "../protocol/invalidation.ts"
import type { Kind } from "../dispatch/targets/target.ts"
import type { Edge } from "./context.ts"

const KIND_OF = { tags: "tag", urls: "url", prefixes: "prefix", hosts: "host" } as const satisfies Record<
  string,
  Kind
>

/** Whether a target can do nothing at all with an entry: it knows none of its kinds and may not widen them. */
export function impossibleAt(edge: Edge, name: string, body: EntryBody): boolean {
  const target = edge.config.targets[name]
  const driver = target && edge.targets.get(target.type)
  if (!target || !driver || target.onUnsupported === "widen") return false
  const { kinds } = driver.capabilities(target as never)
  const asked = Object.entries(KIND_OF).filter(([list]) => body[list as keyof typeof KIND_OF].length > 0)
  return asked.every(([, kind]) => kinds[kind] === undefined)
}
