/**
 * `npm run worker:entry`, which wrangler runs before it bundles: writes the module that the Worker is bundled from,
 * with just the sources and targets that the configuration uses. `TIDEMARK_CONFIG` names another configuration.
 */
import { mkdirSync, writeFileSync } from "node:fs"
import { registerHooks } from "node:module"
import { dirname, join, relative } from "node:path"
import { pathToFileURL } from "node:url"
import { checkConfig } from "../protocol/config/checks.ts"
import { loadConfigFile } from "../cli/config-file.ts"
import { PACKAGE_EXPORTS, packageRoot } from "../cli/package-root.ts"
import { upstashTransport } from "../cli/upstash-transport.ts"
import { workerEntry } from "../cli/worker-entry.ts"

/** `main` in wrangler.toml. */
const ENTRY = join(packageRoot, ".tidemark/worker.ts")
/** In `alias` there. */
const TRANSPORT = join(packageRoot, ".tidemark/upstash.mjs")

// A clone is not built, so its own exports, which name the build, lead nowhere.
registerHooks({
  resolve(specifier, context, nextResolve) {
    const file = PACKAGE_EXPORTS[specifier]
    return file === undefined
      ? nextResolve(specifier, context)
      : { url: pathToFileURL(file).href, shortCircuit: true }
  },
})

try {
  const given = process.env["TIDEMARK_CONFIG"] ?? join(packageRoot, "tidemark.config.ts")
  const { path, config } = await loadConfigFile(given, checkConfig)
  mkdirSync(dirname(ENTRY), { recursive: true })
  writeFileSync(ENTRY, workerEntry(config))
  writeFileSync(TRANSPORT, upstashTransport())
  process.stdout.write(`${relative(packageRoot, ENTRY)} from ${relative(packageRoot, path)}\n`)
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 2
}
