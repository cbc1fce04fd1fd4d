import { onceAMinute, warn } from "./trouble.ts"

const SHOWN = 3

/**
 * Tells on the console which page has tags that had no room in its label header, and a few of them: by its path, as a
 * query may hold a secret. Each page once a minute, and no more than 16 of them in one.
 */
export function droppedTeller(): (page: string, dropped: readonly string[]) => void {
  const isDue = onceAMinute(Date.now)
  return (page, dropped) => {
    if (!isDue(page)) return
    const rest = dropped.length > SHOWN ? `, and ${dropped.length - SHOWN} more` : ""
    const shown = dropped.slice(0, SHOWN).join(", ") + rest
    warn({ message: `tags-dropped: the label header of ${page} has no room for ${shown}` })
  }
}
