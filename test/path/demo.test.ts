import { execFile } from "node:child_process"
import { fileURLToPath } from "node:url"
import { expect, test } from "vitest"

const COMMAND = fileURLToPath(new URL("../../cli/tidemark.js", import.meta.url))

interface Outcome {
  readonly code: number
  readonly stdout: string
}

const demo = (...args: string[]): Promise<Outcome> =>
  new Promise((done) => {
    const env = { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? "" }
    execFile(process.execPath, [COMMAND, "demo", ...args], { env }, (error, stdout) => {
      done({ code: error ? Number(error.code) : 0, stdout })
    })
  })

test("the demo ends well, and says what happened when", async () => {
  const { code, stdout } = await demo()
  expect(stdout).toContain("Every cache is true.")
  for (const step of ["publish", "epoch", "wake", "purge", "fresh"])
    expect(stdout).toMatch(new RegExp(`\\d ms  ${step} `))
  expect(code).toBe(0)
})

test.each([
  ["publish", ["the Worker's cache", "Varnish"]],
  ["purge", ["Varnish"]],
  ["epoch", ["the Worker's cache"]],
])("with %s broken it fails, and names %s", async (part, caches) => {
  const { code, stdout } = await demo("--break", part)
  expect(stdout).toContain(`The old page was served by ${caches.join(" and ")}.`)
  expect(code).toBe(1)
})
