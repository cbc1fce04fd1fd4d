/** How many letters of a short word may be wrong: of a longer one a third. */
const FEW = 1

/**
 * The word that somebody most likely meant, for "did you mean". Letters left out, put in, taken for another or swapped
 * with their neighbour count one each; upper and lower case are the same.
 *
 * @returns undefined where none is near enough, or the word itself is among them
 */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined
  let least = Math.max(FEW, Math.floor(word.length / 3)) + 1
  for (const candidate of candidates) {
    if (candidate === word) return undefined
    const distance = distanceOf(word.toLowerCase(), candidate.toLowerCase())
    if (distance < least) [best, least] = [candidate, distance]
  }
  return best
}

/** The Damerau-Levenshtein distance in its restricted form: no part is changed twice. */
function distanceOf(a: string, b: string): number {
  let before: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, column) => column)
  for (let row = 1; row <= a.length; row += 1) {
    const current = [row]
    for (let column = 1; column <= b.length; column += 1) {
      const same = a[row - 1] === b[column - 1]
      const isSwapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]
      current.push(
        Math.min(
          (last[column] ?? 0) + 1,
          (current[column - 1] ?? 0) + 1,
          (last[column - 1] ?? 0) + (same ? 0 : 1),
          isSwapped ? (before[column - 2] ?? 0) + 1 : Infinity,
        ),
      )
    }
    ;[before, last] = [last, current]
  }
  return last[b.length] ?? 0
}

/** What is added to a mistake: nothing, where nothing is near. */
export function didYouMean(word: string, candidates: Iterable<string>): string {
  const meant = nearest(word, candidates)
  return meant === undefined ? "" : `; did you mean ${meant}?`
}
