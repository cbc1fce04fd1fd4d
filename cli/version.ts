import { readFileSync } from "node:fs"

/** The version of the running package. */
export function packageVersion(): string {
  // Beside `cli/` in a clone, beside `dist/` where the package was built.
  for (const path of ["../package.json", "../../package.json"]) {
    try {
      const manifest = JSON.parse(readFileSync(new URL(path, import.meta.url), "utf8")) as Record<
        string,
        unknown
      >
      if (manifest["name"] === "tidemark") return String(manifest["version"])
    } catch {
      // The other place, then.
    }
  }
  return "unknown"
}
