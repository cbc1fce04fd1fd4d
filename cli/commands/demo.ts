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

// Looked for when it is wanted, and not before.
const DEMO: string = "../demo/demo.ts"

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
  addCommonOptions(command, "reads").action(
    exitsWith(async (options: DemoOptions) => {
      const demo: DemoModule = await import(DEMO)
      return demo.runDemo(options)
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
