import type { Command } from "commander"
import { describe, expect, it, vi } from "vitest"
import { createProgram } from "./main.ts"
import { run } from "./testing/run.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

const nothing = async () => {}

function commandsOf(command: Command, path: readonly string[] = []): string[][] {
  return command.commands.flatMap((child) => {
    const here = [...path, child.name()]
    return child.commands.length > 0 ? commandsOf(child, here) : [here]
  })
}

/** What asks the relay alone: it has no use for the Worker's address. */
const OF_THE_RELAY = ["lanes", "dead", "resync", "drain"]

const COMMANDS = commandsOf(createProgram(nothing))

describe("help", () => {
  it("knows every command", () => {
    expect(COMMANDS.map((path) => path.join(" ")).toSorted()).toEqual(
      [
        "config check",
        "dead delete",
        "dead list",
        "dead replay",
        "dead show",
        "demo",
        "dev",
        "drain",
        "explain",
        "epochs",
        "gateway",
        "lanes",
        "log",
        "publish",
        "relay",
        "resync",
        "source test",
        "status",
        "tail",
        "token create",
      ].toSorted(),
    )
  })

  it.for(COMMANDS.map((path) => path.join(" ")))("of %s", async (name) => {
    const { code, stdout, stderr } = await run([...name.split(" "), "--help"])
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
    expect(stdout).toContain(`Usage: tidemark ${name}`)
    expect(stdout).toContain("Exit codes:\n  0  done")
  })

  it("of the whole: commands in one line each, examples, environment and all exit codes", async () => {
    const { code, stdout } = await run(["--help"])
    expect(code).toBe(0)
    for (const [name = ""] of COMMANDS) expect(stdout).toMatch(new RegExp(`^  ${name}\\b`, "m"))
    for (const title of ["Examples:", "Environment:"]) expect(stdout).toContain(title)
    expect(stdout).toMatch(
      /0 {2}done\n.*1 {2}failed\n.*2 {2}wrong.*\n.*3 {2}accepted.*\n.*4 {2}refused.*\n.*5 {2}nothing answers/,
    )
  })

  it("says where --url selects, and where it is the address", async () => {
    for (const command of ["publish", "epochs"]) {
      const { stdout } = await run([command, "--help"])
      expect(stdout).toContain("--worker <address>")
      expect(stdout).toContain("not the Worker's address")
    }
    for (const command of ["status", "log", "tail"]) {
      expect((await run([command, "--help"])).stdout).toContain("--worker, --url <address>")
    }
    for (const path of ["lanes", "dead list", "dead replay", "resync", "drain"]) {
      const { stdout } = await run([...path.split(" "), "--help"])
      expect(stdout).toMatch(/ --url <address> +where the relay answers \(TIDEMARK_RELAY_URL\)/)
    }
  })

  it.for(COMMANDS.map((path) => path.join(" ")))("%s takes the common options", (path) => {
    const command = path
      .split(" ")
      .reduce<Command>(
        (at, name) => at.commands.find((child) => child.name() === name) ?? at,
        createProgram(nothing),
      )
    const flags = command.options.flatMap(({ short, long }) => [short, long])
    for (const flag of ["--json", "--config", "--url", "--token-file"]) expect(flags).toContain(flag)
    expect(flags.includes("--worker")).toBe(!OF_THE_RELAY.includes(path.split(" ")[0] ?? ""))
  })
})

it("prints its version", async () => {
  expect(await run(["--version"])).toEqual({
    code: 0,
    stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    stderr: "",
  })
})
