import type { CacheNode } from "../support/cache-node.ts"
import type { FakeVendor } from "../support/fake-vendor.ts"
import type { VarnishEnd } from "../support/varnish-log.ts"

/** One acknowledged publish. */
export interface Published {
  readonly tag: string
  readonly namespace: string
  /** When its acknowledgement had come; ms since 1970. */
  readonly acknowledgedAt: number
}

/** What one receiving end took, in the words of either. */
interface Taken {
  readonly at: number
  readonly tags: readonly string[]
  /** Whether it emptied the whole site of the scenario, whatever the namespace. */
  readonly isAll: boolean
}

export const HOST = "www.example.com"

/** Only the receiving ends are believed, never what we say of ourselves. */
function takenByCdn(vendor: FakeVendor): Taken[] {
  return vendor.taken().map(({ at, kind, values }) => ({
    at,
    tags: kind === "tag" ? values : [],
    isAll: kind === "everything" || ((kind === "host" || kind === "prefix") && values.includes(HOST)),
  }))
}

function takenByVarnish({ purges }: VarnishEnd): Taken[] {
  return purges
    .filter(({ status }) => status === 200)
    .map(({ at, keys, ban }) => ({
      at,
      tags: keys,
      isAll: ban.everything || (ban.url === "" && ban.host !== "" && new RegExp(ban.host).test(HOST)),
    }))
}

function takenByNode({ taken }: CacheNode): Taken[] {
  return taken.map(({ at, keys, isBan }) => ({ at, tags: keys, isAll: isBan }))
}

export interface Judgement {
  readonly lost: readonly string[]
  readonly twice: readonly string[]
}

/**
 * A publish is covered at an end if that end took its own tag, which occurs nowhere else, or took what stands for its
 * namespace or for everything after it was acknowledged.
 */
function judgeEnd(published: readonly Published[], taken: readonly Taken[]): Judgement {
  const counts = new Map<string, number>()
  /** When a whole namespace was last taken, by its tag; and all of it, by "". */
  const whole = new Map<string, number>()
  for (const { at, tags, isAll } of taken) {
    for (const tag of tags) {
      counts.set(tag, (counts.get(tag) ?? 0) + 1)
      if (tag.startsWith("ns/")) whole.set(tag, Math.max(at, whole.get(tag) ?? 0))
    }
    if (isAll) whole.set("", Math.max(at, whole.get("") ?? 0))
  }
  const isCovered = ({ tag, namespace, acknowledgedAt }: Published): boolean =>
    counts.has(tag) || Math.max(whole.get("") ?? 0, whole.get(`ns/${namespace}`) ?? 0) >= acknowledgedAt
  return {
    lost: published.filter((one) => !isCovered(one)).map(({ tag }) => tag),
    twice: published.filter(({ tag }) => (counts.get(tag) ?? 0) > 1).map(({ tag }) => tag),
  }
}

/** At all ends together: lost at one of them is lost. */
export function judge(
  published: readonly Published[],
  vendor: FakeVendor,
  varnish?: VarnishEnd,
  nodes: readonly CacheNode[] = [],
): Judgement {
  const ends = [takenByCdn(vendor), ...(varnish ? [takenByVarnish(varnish)] : []), ...nodes.map(takenByNode)]
  const judgements = ends.map((taken) => judgeEnd(published, taken))
  return {
    lost: [...new Set(judgements.flatMap(({ lost }) => lost))],
    twice: [...new Set(judgements.flatMap(({ twice }) => twice))],
  }
}
