import { type Command, Option } from "commander"
import { exitsWith } from "../exit.ts"
import { addHelp } from "../help.ts"
import { addCommonOptions, type CommonOptions } from "../options.ts"

interface DemoOptions extends CommonOptions {
  readonly break?: "publish" | "purge" | "epoch"
}

interface DemoModule {
  runDemo(options: DemoOptions): Promise<number>
}

/** `tidemark demo`: one webhook through all of it. */
export function addDemo(program: Command): void {
  const command = program
    .command("demo")
    .summary("send one CMS webhook through all of it, and watch two caches")
    .description(
      "Starts everything on ports of its own, sends one signed CMS webhook, prints each step with its time, and is done\nonly when both caches served the new page and no reader saw the old one later than it may.",
    )
    .addOption(
      new Option("--break <part>", "break a part, and see which cache serves the old page").choices([
        "publish",
        "purge",
        "epoch",
      ]),
    )
  addCommonOptions(command, "nothing").action(
    exitsWith(async (options: DemoOptions) => {
      // As a string of its own, so that it is looked for when it is wanted.
      const { runDemo } = (await import("../demo/demo.ts" as string)) as DemoModule
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
