import { dirname } from "node:path"
import type { Plugin } from "esbuild"
import { packageRoot, PACKAGE_EXPORTS } from "../package-root.ts"
import { UPSTASH_SDK, upstashTransport } from "../upstash-transport.ts"
import { loadTool } from "./tools.ts"

/** `tidemark/config` in a configuration, wherever it lies, is the package that runs. */
const runningPackage: Plugin = {
  name: "running-package",
  setup(build) {
    build.onResolve({ filter: /^tidemark\// }, ({ path }) => {
      const file = PACKAGE_EXPORTS[path]
      return file === undefined ? { errors: [{ text: `tidemark has no export ${path}` }] } : { path: file }
    })
  },
}

/** As it is deployed. */
const transportAlone: Plugin = {
  name: "transport-alone",
  setup(build) {
    build.onResolve({ filter: new RegExp(`^${UPSTASH_SDK}$`) }, ({ path }) => ({
      path,
      namespace: "transport",
    }))
    build.onLoad({ filter: /./, namespace: "transport" }, () => ({
      contents: upstashTransport(),
      resolveDir: packageRoot,
    }))
  },
}

/**
 * Bundles an entry into one module for workerd.
 *
 * @param tools what `findDevTools` answered. Default: this package's own folder
 * @throws {Error} saying what does not compile, and where
 */
export async function bundleWorker(entry: string, from: string, tools?: string): Promise<string> {
  const { build } = loadTool("esbuild", tools)
  const result = await build({
    stdin: { contents: entry, resolveDir: dirname(from), sourcefile: "tidemark-entry.ts", loader: "ts" },
    bundle: true,
    format: "esm",
    target: "es2024",
    platform: "neutral",
    mainFields: ["module", "main"],
    conditions: ["workerd", "worker", "browser", "import"],
    // A configuration of its own folder finds the packages that ours brings.
    nodePaths: [`${packageRoot}/node_modules`],
    external: ["node:*", "cloudflare:*"],
    plugins: [runningPackage, transportAlone],
    write: false,
    logLevel: "silent",
  })
  return result.outputFiles[0]?.text ?? ""
}
