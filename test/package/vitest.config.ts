import { defineConfig } from "vitest/config"

/**
 * `npm run test:package`: the package as npm installs it. Apart from `npm test`, as npm asks its registry for it; all else
 * stays on loopback here as well.
 */
export default defineConfig({
  test: {
    name: "package",
    include: ["test/package/**/*.test.ts"],
    reporters: ["default", "./scripts/summary-reporter.ts"],
    globalSetup: ["test/package/setup.ts"],
    maxWorkers: 2,
    maxConcurrency: 2,
    // Installs and whole compilers, on a busy machine with two cores.
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
})
