import { readFileSync } from "node:fs"
import { join } from "node:path"
import { packageRoot } from "./package-root.ts"

/** The version of the running package. */
export function packageVersion(): string {
  const manifest: { readonly version: string } = JSON.parse(
    readFileSync(join(packageRoot, "package.json"), "utf8"),
  )
  return manifest.version
}
