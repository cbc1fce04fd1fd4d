import type { LookupRequest } from "../protocol/lookup.ts"
import type { Namespace } from "../protocol/namespace.ts"
import { isTag, URL_TAG } from "../protocol/selector.ts"

/**
 * @param wanted tags and urls as `askedTags` gives them
 * @param along namespaces in use that are asked along, so that all that a reader holds was read at one point of the log
 */
export const requestOf = (
  wanted: ReadonlyMap<Namespace, readonly string[]>,
  along: readonly Namespace[],
): LookupRequest =>
  new Map(
    [...wanted, ...along.map((name) => [name, []] as const)].map(([name, members]) => [name, split(members)]),
  )

const split = (members: readonly string[]) => ({
  tags: members.filter((member) => !member.startsWith(URL_TAG)),
  urls: members.filter((member) => member.startsWith(URL_TAG)).map((member) => member.slice(URL_TAG.length)),
})

/** What cannot be published need not be asked, and would get the whole request refused. */
export const isAskable = (member: string): boolean => member.startsWith(URL_TAG) || isTag(member)
