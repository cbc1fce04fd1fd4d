import { cloudflareTest } from "@cloudflare/vitest-plugin"
import { defineConfig } from "vitest/config"
import { COMPATIBILITY_DATE } from "./cli/dev/serve-worker.ts"
import { moduleFile, PACKAGE_EXPORTS } from "./cli/package-root.ts"

/** Rooms whose code runs in both runtimes: the same test files are run in Node and in workerd. */
const BOTH = ["protocol/**/*.test.ts", "dispatch/**/*.test.ts", "worker/**/*.test.ts", "client/**/*.test.ts"]

/** Needs Node itself: a real server, a process, a file. Named so, beside the code it tests. */
const NODE_ONLY = "**/*.node.test.ts"

/** Whole systems of several processes. */
const WHOLE = ["test/path/**/*.test.ts", "test/soak/**/*.test.ts", "test/engines/**/*.test.ts"]

/** Faults that are counted. */
const FAULTS = ["test/faults/**/*.test.ts"]

/** Configurations that tests import: a clone is not built. And an example's Next.js, which is not installed. */
const ALIASES = { ...PACKAGE_EXPORTS, "next/cache": moduleFile("test/support/next-cache") }

/** Longer than anything takes on a busy machine with two cores: what is met in time is never by chance. */
const PATIENCE = { testTimeout: 120_000, hookTimeout: 120_000, expect: { poll: { timeout: 20_000 } } }

const IGNORED = ["**/node_modules/**", "dist/**"]

export default defineConfig({
  test: {
    reporters: ["default", "./scripts/summary-reporter.ts"],
    projects: [
      {
        test: {
          name: "node",
          include: [...BOTH, "relay-node/**/*.test.ts", "cli/**/*.test.ts", "scripts/**/*.test.ts"],
          exclude: IGNORED,
          globalSetup: ["test/support/servers.ts"],
          maxWorkers: 2,
          ...PATIENCE,
        },
      },
      {
        plugins: [cloudflareTest({ miniflare: { compatibilityDate: COMPATIBILITY_DATE } })],
        test: {
          name: "workerd",
          include: BOTH,
          exclude: [...IGNORED, NODE_ONLY],
          maxWorkers: 2,
          ...PATIENCE,
        },
      },
      {
        // The plugs against the frameworks themselves, which are installed when they are first needed.
        test: {
          name: "frameworks",
          include: ["test/frameworks/**/*.test.ts"],
          exclude: IGNORED,
          globalSetup: ["test/frameworks/install.ts"],
          maxWorkers: 2,
          ...PATIENCE,
        },
      },
      {
        resolve: { alias: ALIASES },
        test: {
          name: "system",
          include: ["test/**/*.test.ts"],
          exclude: [...IGNORED, ...WHOLE, ...FAULTS, "test/frameworks/**", "test/package/**"],
          globalSetup: ["test/support/servers.ts"],
          maxWorkers: 2,
          ...PATIENCE,
        },
      },
      {
        resolve: { alias: ALIASES },
        test: {
          name: "whole",
          include: WHOLE,
          exclude: IGNORED,
          globalSetup: ["test/support/servers.ts"],
          // They mostly wait, and are better off without what computes.
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
          ...PATIENCE,
        },
      },
      {
        resolve: { alias: ALIASES },
        test: {
          name: "faults",
          include: FAULTS,
          exclude: IGNORED,
          globalSetup: ["test/support/servers.ts"],
          // Alone, after all else.
          fileParallelism: false,
          sequence: { groupOrder: 2 },
          ...PATIENCE,
        },
      },
    ],
  },
})
