#!/usr/bin/env node
// The package's command. Plain JavaScript without a static import, so that an old Node gets as far as the sentence
// below instead of a stack trace. What is imported further down needs the Node that it asks for.

const OLDEST = [22, 19]

/** `relay` and `gateway` run for days: they are started without what the other commands load. */
const PARTS = { relay: "relay-node/main", gateway: "relay-node/gateway/main" }

/** The modules that import a configuration, which is always an ES module. In a build they are parts of programs. */
const CONFIG_IMPORTERS = ["cli/config-file", "relay-node/main"]

function isOld(version) {
  const [major, minor] = version.split(".").map(Number)
  return major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])
}

async function start() {
  const { existsSync, readFileSync } = await import("node:fs")
  const { enableCompileCache, registerHooks } = await import("node:module")
  // Node 23 before 23.5 is newer by its number, and lacks this.
  if (isOld(process.versions.node) || registerHooks === undefined) {
    process.stderr.write(
      `tidemark needs Node ${OLDEST.join(".")} or newer, and this is Node ${process.versions.node}.\n`,
    )
    process.exitCode = 2
    return
  }

  // Most of a short command's time goes into compiling; Node keeps the result in the system's temporary directory.
  enableCompileCache()

  // Node runs TypeScript as it is, but not below node_modules: a published package carries its build instead, of which
  // programs lie apart, each with all that it imports.
  const inClone = existsSync(new URL("main.ts", import.meta.url))
  const locate = (module) =>
    new URL(inClone ? `../${module}.ts` : `../dist/${module}.js`, import.meta.url).href
  const locateProgram = (module) => locate(inClone ? module : `programs/${module}`)

  /** What users' files import, and where the running package keeps it. */
  const { exports } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"))
  const entries = new Map(
    Object.entries(exports).map(([name, file]) => [
      name.replace(/^\./, "tidemark"),
      locate(file.slice("./dist/".length, -".js".length)),
    ]),
  )

  // A configuration may lie anywhere, also where no tidemark is installed, or another one.
  const importers = inClone
    ? CONFIG_IMPORTERS.map(locate)
    : [new URL("../dist/programs/", import.meta.url).href]
  registerHooks({
    resolve(specifier, context, nextResolve) {
      const url = entries.get(specifier)
      if (url !== undefined) return { url, shortCircuit: true }
      const resolved = nextResolve(specifier, context)
      // What is a module does not depend on the package.json that happens to lie beside it, often with "commonjs".
      const isOurs = importers.some((importer) => context.parentURL?.startsWith(importer))
      const isConfig = isOurs && /^file:[^?]*\.ts(\?|$)/.test(specifier)
      return isConfig ? { ...resolved, format: "module-typescript" } : resolved
    },
  })

  // Whoever started this part holds the other end of the pipe: when that is gone, so is the part.
  if (process.env.TIDEMARK_END_WITH_STDIN) {
    process.stdin
      .once("close", () => process.kill(process.pid, "SIGTERM"))
      .resume()
      .unref()
  }

  const run = async (module, args) => (await import(locateProgram(module))).main(args, startPart)
  const startPart = (part, args) => run(PARTS[part], args)

  const args = process.argv.slice(2)
  // With arguments the command line has a look first: it prints the help, and refuses what it does not know.
  if (args.length === 1 && Object.hasOwn(PARTS, args[0])) await startPart(args[0], [])
  else await run("cli/main", args)
}

start().catch((error) => {
  process.stderr.write(`tidemark: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
})
