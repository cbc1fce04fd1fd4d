import { type Command, Option } from "commander"
import type { DemoOptions } from "../demo/demo.ts"
import { exitsWith } from "../exit.ts"
import { addHelp } from "../help.ts"
import { addCommonOptions } from "../options.ts"

/** `tidemark demo`: one webhook through all of it. */
export function addDemo(program: Command): void {
  const command = program
    .command("demo")
    .summary("send one CMS webhook through all of it, and watch two caches")
    .description(
      "Starts everything on ports of its own, sends one signed CMS webhook, prints each step with its time, and is done only when both caches served the new page and no reader saw the old one later than it may.",
    )
    .addOption(
      new Option("--break <part>", "break a part, and see which cache serves the old page").choices([
        "publish",
        "purge",
        "epoch",
      ]),
    )
  addCommonOptions(command, "makes").action(
    exitsWith(async (options: DemoOptions) => {
      // It brings what no other command needs.
      const { runDemo } = await import("../demo/demo.ts")
      return runDemo(options)
    }),
  )
  addHelp(command, {
    examples: [
      ["tidemark demo", "exits 0 when both caches are true"],
      ["tidemark demo --break purge", "exits 1, and names the cache that served the old page"],
    ],
    exits: ["done", "failed", "usage"],
  })
}
