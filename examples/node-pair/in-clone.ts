import { registerHooks } from "node:module"
import { pathToFileURL } from "node:url"
import { PACKAGE_EXPORTS } from "../../cli/package-root.ts"

/** Nothing is built in a clone: what an installed package exports is found in its sources. No server of yours needs this. */
registerHooks({
  resolve(specifier, context, nextResolve) {
    const file = PACKAGE_EXPORTS[specifier]
    return file === undefined
      ? nextResolve(specifier, context)
      : { url: pathToFileURL(file).href, shortCircuit: true }
  },
})
