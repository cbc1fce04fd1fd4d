/** Whatever is measured beside others. */
export interface Contender {
  readonly name: string
}

/** As many as the medians are of. */
export const ROUNDS = Number(process.env["TIDEMARK_BENCH_ROUNDS"] ?? 5)

export const line = (text: string): void => void process.stderr.write(`${text}\n`)

/**
 * Measures contenders in turns, so that each has the machine as the others had it: the order is reversed every other
 * round, as whoever comes first finds it in another state.
 *
 * @param one measures one contender once; what it answers is kept by the contender's name, a round each
 */
export async function inTurns<C extends Contender, R>(
  what: string,
  contenders: readonly C[],
  one: (contender: C, round: number) => Promise<R>,
  rounds: number = ROUNDS,
): Promise<ReadonlyMap<string, readonly R[]>> {
  const results = new Map<string, R[]>(contenders.map(({ name }) => [name, []]))
  for (let round = 0; round < rounds; round += 1) {
    line(`${what}: round ${round + 1} of ${rounds}`)
    for (const contender of round % 2 === 0 ? contenders : contenders.toReversed()) {
      results.get(contender.name)?.push(await one(contender, round))
    }
  }
  return results
}
