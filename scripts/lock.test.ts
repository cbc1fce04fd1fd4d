import { expect, it } from "vitest"
import { type Lock, lockOf, toolsLock } from "./lock.ts"

const lock: Lock = {
  lockfileVersion: 3,
  packages: {
    "": { dependencies: { other: "1" } },
    "node_modules/tool": {
      version: "1",
      integrity: "sha512-tool",
      dev: true,
      dependencies: { both: "1", own: "2" },
      optionalDependencies: { platform: "1" },
    },
    "node_modules/tool/node_modules/own": { version: "2", dependencies: { below: "1" } },
    "node_modules/own": { version: "1" },
    "node_modules/below": { version: "1", devOptional: true },
    "node_modules/platform": { version: "1", optional: true, dependencies: { both: "1", only: "1" } },
    "node_modules/both": { version: "1", optional: true },
    "node_modules/only": { version: "1" },
    "node_modules/other": { version: "1" },
  },
}
const manifest = { name: "tools", dependencies: { tool: "1" } }

it("has what is needed, where it lay, and says of each whether it may be missing", () => {
  expect(lockOf(lock, manifest)).toEqual({
    name: "tools",
    lockfileVersion: 3,
    packages: {
      "": manifest,
      "node_modules/tool": {
        version: "1",
        integrity: "sha512-tool",
        dependencies: { both: "1", own: "2" },
        optionalDependencies: { platform: "1" },
      },
      "node_modules/tool/node_modules/own": { version: "2", dependencies: { below: "1" } },
      "node_modules/below": { version: "1" },
      "node_modules/platform": { version: "1", dependencies: { both: "1", only: "1" }, optional: true },
      // Needed by one that may be missing, and by one that may not.
      "node_modules/both": { version: "1" },
      "node_modules/only": { version: "1", optional: true },
    },
  })
})

it("names what the lock file lacks", () => {
  const without = {
    ...lock,
    packages: { ...lock.packages, "node_modules/below": undefined },
  } as unknown as Lock
  expect(() => lockOf(without, manifest)).toThrow(
    "the lock file has no below, which node_modules/tool/node_modules/own needs",
  )
})

it("pins the tools of development for every platform, each by its digest, and little else", () => {
  const { "": root, ...others } = toolsLock().packages
  expect(root?.dependencies).toEqual({
    esbuild: expect.stringMatching(/^\d+\.\d+\.\d+/),
    miniflare: expect.stringMatching(/^\d+\.\d+\.\d+/),
  })
  for (const [place, { integrity }] of Object.entries(others))
    expect([place, integrity]).toEqual([place, expect.stringMatching(/^sha512-/)])
  for (const platform of [
    "@esbuild/linux-x64",
    "@esbuild/darwin-arm64",
    "@cloudflare/workerd-linux-64",
    "@cloudflare/workerd-darwin-arm64",
  ])
    expect(others[`node_modules/${platform}`]).toMatchObject({ optional: true })
  expect(others).not.toHaveProperty(["node_modules/vitest"])
})
