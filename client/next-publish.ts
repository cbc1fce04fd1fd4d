import type { Namespace } from "../protocol/namespace.ts"
import { type Publication, StoreRefusal } from "./epoch-store.ts"
import { type Group, groupOf } from "./next-tags.ts"
import { publicationsOf, publishEach } from "./publications.ts"
import type { Tidemark } from "./tidemark.ts"

/** How apps of Next.js publish what they revalidate. */

export type Mode = "invalidate" | "purge"

/** What is told on the way, by its code. */
export type Warn = (code: "publish-failed" | "publish-refused", message: string, cause: unknown) => void

/** For people, in the log. */
const REASON = "from Next.js"

/** How the store refuses what a publication names, such as a url outside the namespace's hosts. */
const UNPROCESSABLE = 422

interface Batch {
  readonly groups: Map<Namespace, Group>
  readonly published: Promise<void>
}

/** What is still to be published, by the reader that publishes it. */
const batches = new WeakMap<Tidemark, Partial<Record<Mode, Batch>>>()

/**
 * Publishes, once for all that ask in the same turn: Next.js tells each of its handlers of the same tags, one after the
 * other. A url that is refused loses no tag.
 *
 * @throws what the first publication that failed was rejected with, once all have been tried
 */
export function publishTogether(
  tidemark: Tidemark,
  how: Mode,
  groups: ReadonlyMap<Namespace, Group>,
  warn: Warn,
): Promise<void> {
  const open = batches.get(tidemark) ?? {}
  batches.set(tidemark, open)
  const batch = (open[how] ??= startBatch(() => delete open[how], tidemark, how, warn))
  for (const [namespace, { tags, urls, isWhole }] of groups) {
    const group = groupOf(batch.groups, namespace)
    group.tags.push(...tags)
    group.urls.push(...urls)
    group.isWhole ||= isWhole
  }
  return batch.published
}

function startBatch(close: () => void, tidemark: Tidemark, how: Mode, warn: Warn): Batch {
  const groups = new Map<Namespace, Group>()
  const published = Promise.resolve().then(async () => {
    close()
    const publications = Array.from(groups, ([namespace, { tags, urls, isWhole }]) =>
      isWhole ? [{ namespace }] : publicationsOf(namespace, { tags, urls }),
    )
    try {
      await publishEach(publications.flat(), (what) => publish(tidemark, how, what, warn))
    } catch (cause) {
      // Next.js answers a route handler's visitor before it publishes: there, this is all that is seen of it.
      warn("publish-failed", "What the app revalidated was not published.", cause)
      throw cause
    }
  })
  return { groups, published }
}

async function publish(tidemark: Tidemark, how: Mode, what: Publication, warn: Warn): Promise<void> {
  try {
    await tidemark[how]({ ...what, reason: REASON })
  } catch (error) {
    const isRefused = error instanceof StoreRefusal && error.status === UNPROCESSABLE
    if (!isRefused || !("urls" in what) || !what.urls) throw error
    const { tags, urls, ...rest } = what
    if (tags) await publish(tidemark, how, { ...rest, tags }, warn)
    else if (urls.length === 1)
      return warn("publish-refused", `The url ${urls[0]} was refused. Its tags were published.`, error)
    // By halves, until those at fault stand alone.
    const middle = tags ? urls.length : Math.ceil(urls.length / 2)
    const halves = [urls.slice(0, middle), urls.slice(middle)].filter((half) => half.length > 0)
    await publishEach(halves, (half) => publish(tidemark, how, { ...rest, urls: half }, warn))
  }
}
