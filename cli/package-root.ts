import { existsSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

/**
 * Where the running package lies, and whether it is a clone, whose TypeScript runs as it is, or an installed package,
 * which brings what was built from it: programs bundled with all that they import, and modules for sites one by one.
 */
const here = fileURLToPath(import.meta.url)

const isClone = here.endsWith(".ts")

/** The package's own folder: how deep a built file lies below it is the bundler's matter. */
export const packageRoot = folderAbove(here)

function folderAbove(path: string): string {
  const folder = dirname(path)
  return existsSync(join(folder, "package.json")) || folder === path ? folder : folderAbove(folder)
}

/** A module of ours, by its name without a suffix below the package: `worker/create-worker`. */
export const moduleFile = (name: string): string =>
  isClone ? join(packageRoot, `${name}.ts`) : join(packageRoot, "dist", `${name}.js`)

/** A module that is started as a process: `cli/dev/worker-part`. */
export const programFile = (name: string): string => moduleFile(isClone ? name : `programs/${name}`)

const { exports } = JSON.parse(readFileSync(join(packageRoot, "package.json"), "utf8")) as {
  readonly exports: Readonly<Record<string, string>>
}

/** What `tidemark/…` means to code that is bundled: always the running package. */
export const PACKAGE_EXPORTS: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries(exports).map(([name, file]) => [
    name.replace(/^\./, "tidemark"),
    moduleFile(file.slice("./dist/".length, -".js".length)),
  ]),
)
