import type { Reporter, TestModule } from "vitest/node"

/** Ends a run with one plain line, `N passed, N failed, N skipped`, that scripts and CI can read. */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const count = { passed: 0, failed: 0, skipped: 0 }
    for (const module of modules) {
      if (module.errors().length > 0) count.failed += 1
      for (const test of module.children.allTests()) {
        const { state } = test.result()
        if (state !== "pending") count[state] += 1
      }
    }
    // After the default reporter's own table, which is written when this hook has returned.
    const failed = count.failed + errors.length
    process.once("exit", () => {
      process.stdout.write(`${count.passed} passed, ${failed} failed, ${count.skipped} skipped\n`)
    })
  }
}
