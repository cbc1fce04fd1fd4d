import type { LookupRequest } from "../protocol/lookup.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { URL_TAG } from "../protocol/selector.ts"

/**
 * @param wanted tags and urls as `askedTags` gives them
 * @param along namespaces that are asked as well, without any
 */
export const requestOf = (
  wanted: ReadonlyMap<Namespace, readonly string[]>,
  along: readonly (readonly [Namespace, unknown])[],
): LookupRequest =>
  new Map(
    [...wanted, ...along.map(([name]) => [name, []] as const)].map(([name, members]) => [
      name,
      split(members),
    ]),
  )

const split = (members: readonly string[]) => ({
  tags: members.filter((member) => !member.startsWith(URL_TAG)),
  urls: members.filter((member) => member.startsWith(URL_TAG)).map((member) => member.slice(URL_TAG.length)),
})
