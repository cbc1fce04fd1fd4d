/**
 * What a test would run on that npm test does not need: fetched by the system's package tools, and missing where that
 * cannot be, as offline. Then its tests are skipped, saying why; where tests count, in CI, it must be there.
 */
export async function available<Found>(find: () => Promise<Found>): Promise<Found | undefined> {
  try {
    return await find()
  } catch (error) {
    if (process.env["CI"] === "true" || !(error instanceof Error)) throw error
    process.stderr.write(`skipped: ${error.message}\n`)
    return undefined
  }
}
