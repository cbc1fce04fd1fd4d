import type { SourceEvent } from "./source.ts"

/**
 * The slugs of a record that may have several, one pair an event: at least one pair, whatever is told. Which of them
 * took which one's place is not told, and no matter: the pairs name all of them.
 */
export function slugPairs(
  slugs: readonly string[],
  previousSlugs: readonly string[],
): { [K in "slug" | "previousSlug"]: SourceEvent[K] | undefined }[] {
  return Array.from({ length: Math.max(slugs.length, previousSlugs.length, 1) }, (_, index) => {
    const slug = slugs[index]
    const previousSlug = previousSlugs[index]
    return { slug, previousSlug: previousSlug === slug ? undefined : previousSlug }
  })
}
