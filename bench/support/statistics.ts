/** The value below which a share of the sorted samples lies. NaN of nothing. */
export function quantile(samples: readonly number[], share: number): number {
  const sorted = samples.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

/** Of an even number, between the two in the middle. */
export function median(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  return ((sorted[Math.ceil(middle) - 1] ?? Number.NaN) + (sorted[Math.floor(middle)] ?? Number.NaN)) / 2
}

/** Some digits that matter, and no more: 12,345 and 0.0123. */
export const figure = (value: number): string =>
  Number.isFinite(value)
    ? value.toLocaleString(
        "en",
        value >= 100 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 3 },
      )
    : "–"

/** The median of some rounds with the least and the most of them: `1.25 (1.10–1.61)`. */
export const spread = (rounds: readonly number[]): string =>
  `${figure(median(rounds))} (${figure(Math.min(...rounds))}–${figure(Math.max(...rounds))})`

/** Round by round, as what is measured in one round had the same machine. */
export const ratios = (ours: readonly number[], theirs: readonly number[]): number[] =>
  ours.map((value, round) => value / (theirs[round] ?? Number.NaN))
