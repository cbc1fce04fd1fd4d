import { existsSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

/**
 * Where the running package lies, and whether it is a clone, whose TypeScript runs as it is, or an installed package,
 * which brings what was built from it.
 */
const here = dirname(fileURLToPath(import.meta.url))

const isClone = existsSync(join(here, "../protocol/config/define.ts"))

/** The package's own folder. */
export const packageRoot = join(here, isClone ? ".." : "../..")

/** A module of ours, by its name without a suffix below the package: `worker/create-worker`. */
export const moduleFile = (name: string): string =>
  isClone ? join(packageRoot, `${name}.ts`) : join(packageRoot, "dist", `${name}.js`)

/** What `tidemark/…` means to code that is bundled: always the running package. */
export const PACKAGE_EXPORTS: Readonly<Record<string, string>> = {
  "tidemark/config": moduleFile("protocol/config/define"),
  "tidemark/worker": moduleFile("worker/index"),
  "tidemark/client": moduleFile("client/index"),
  "tidemark/astro": moduleFile("client/astro"),
  "tidemark/fetch": moduleFile("client/fetch"),
  "tidemark/hono": moduleFile("client/hono"),
  "tidemark/next": moduleFile("client/next"),
  "tidemark/nitro": moduleFile("client/nitro"),
  "tidemark/node": moduleFile("client/node"),
  "tidemark/opennext": moduleFile("client/opennext"),
  "tidemark/sveltekit": moduleFile("client/sveltekit"),
  "tidemark/tags": moduleFile("client/tags"),
  "tidemark/workers-cache": moduleFile("client/workers-cache"),
}
