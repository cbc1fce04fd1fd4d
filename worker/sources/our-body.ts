import { compact } from "../../protocol/invalidation.ts"
import { find, text, texts } from "../rules/pointer.ts"
import { objectOf, unreadable } from "./checks.ts"
import type { EventKind, Reading, Said } from "./source.ts"

/**
 * What the senders say that we wrote ourselves, in `examples/`: one body for all of them.
 *
 * ```json
 * { "type": "post.update", "timestamp": "2026-11-21T12:00:00Z",
 *   "data": { "kind": "update", "type": "post", "id": 42, "slug": "ebb", "previous_slug": "tides", "locale": "en",
 *             "url": "https://…/ebb/", "previous_url": "https://…/tides/", "tags": ["term-3"] } }
 * ```
 *
 * A body that names neither type nor id, such as `{"type": "site.changed", "data": {"kind": "unpublish"}}`, says that
 * more changed than it can name, and what became of it at the worst.
 */

const KINDS: readonly string[] = ["publish", "unpublish", "update", "delete"] satisfies EventKind[]

const isKind = (kind: string | undefined): kind is EventKind => kind !== undefined && KINDS.includes(kind)

export function readOurBody(said: Said): Reading {
  const body = objectOf(said)
  if (!body) return unreadable()
  const topic = text(body, "/type")
  const data: unknown = body["data"]
  // The topic ends with the kind, and says how hard to purge where the rest is missing.
  const kind = [text(data, "/kind"), topic?.split(".").at(-1)].find(isKind)
  const type = text(data, "/type")
  const id = text(data, "/id")
  if (type === undefined && id === undefined)
    return unreadable("the sender says that everything may have changed", kind)
  if (type === undefined || id === undefined) return unreadable("the body lacks a type or an id", kind)
  const tags = texts(find(data, "/tags"))
  const event = compact({
    // A kind of tomorrow is a change at the least.
    kind: kind ?? ("update" as const),
    type,
    id,
    locale: text(data, "/locale"),
    slug: text(data, "/slug"),
    previousSlug: text(data, "/previous_slug"),
    url: text(data, "/url"),
    previousUrl: text(data, "/previous_url"),
    topic,
    tags: tags.length > 0 ? tags : undefined,
  })
  return { reading: "events", events: [event] }
}
