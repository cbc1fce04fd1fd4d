import { isTagList, objectOf, unreadable, verifyCarried } from "./checks.ts"
import type { SourceAdapter } from "./source.ts"

/**
 * Drupal, which knows by itself what depends on what: its cache tags, as its Purge module hands them on. Nothing is
 * signed: a header carries the secret.
 *
 * An event has the kind `tags`, and `tags` from the body's member of that name: a list, or one text in which a template
 * of that module has joined them.
 *
 * @see https://www.drupal.org/project/purge
 */

/** What that module can put between tags. A tag itself holds no white space. */
const SEPARATORS = /[\s,|]+/

export const drupal: SourceAdapter = {
  type: "drupal",

  verify: (delivery, context) => verifyCarried(delivery, context),

  read(said) {
    const body = objectOf(said)
    if (!body) return unreadable()
    const { tags } = body
    const list = typeof tags === "string" ? tags.split(SEPARATORS).filter((tag) => tag !== "") : tags
    if (!isTagList(list)) return unreadable("the list of tags is missing")
    return { reading: "events", events: [{ kind: "tags", tags: list }] }
  },
}
