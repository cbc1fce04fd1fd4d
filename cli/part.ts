/** How the launcher starts a part that is no command of the command line's own. */
export type StartPart = (part: "relay" | "gateway", args: readonly string[]) => Promise<void>

/** The parts read the environment only: there the option goes. */
export function useConfig({ config }: { readonly config?: string }): void {
  if (config !== undefined) process.env["TIDEMARK_CONFIG"] = config
}
