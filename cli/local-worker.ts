import { spawn } from "node:child_process"
import { text } from "node:stream/consumers"
import { resolveSecrets } from "../protocol/config/config.ts"
import type { Config } from "../protocol/config/schema.ts"
import { hashToken, newToken } from "../protocol/tokens.ts"
import { heldVars, newSourceSecret } from "./dev/environment.ts"
import { systemEnv } from "./dev/part-env.ts"
import { CliError } from "./exit.ts"
import { refused } from "./http.ts"
import { packageRoot } from "./package-root.ts"
import { workerEntry } from "./worker-entry.ts"

/** Where a request goes that nobody listens for. */
const NOWHERE = "http://localhost/"

export interface LocalCall {
  readonly config: Config
  /** Where `.dev.vars` lies: the form of a source's secret may say what its deliveries are. */
  readonly directory: string
  /** Whose configuration it is asked for. */
  readonly tenant: string
  readonly path: string
  readonly body: unknown
}

/**
 * Asks the Worker that would be bundled from a configuration, in a process of its own that ends with the answer: nothing
 * listens, and nothing is stored. Secrets that are nowhere are made up, so that it is no use for what verifies.
 *
 * @throws {RefusedCall} as a Worker that listens would have refused it
 * @throws {CliError} `failed`: the configuration's Worker does not run here
 */
export async function askLocalWorker({ config, directory, tenant, path, body }: LocalCall): Promise<unknown> {
  const token = newToken()
  const entry = workerEntry(config, {
    tokenSha256: await hashToken(token),
    tenant,
    // Nobody is called: what a target would be asked needs none of its secrets.
    off: [],
    withoutHash: config.tokens.map(({ name }) => name),
    hosts: [new URL(NOWHERE).hostname],
    isTelling: false,
  })
  const call = { method: "POST", headers: { authorization: `Bearer ${token}` }, body: JSON.stringify(body) }
  const bindings = bindingsOf(config, directory)
  const program = [
    entry.replace("export default ", "const worker = "),
    `const request = new Request(${JSON.stringify(new URL(path, NOWHERE))}, ${JSON.stringify(call)})`,
    `const response = await worker.fetch(request, ${JSON.stringify(bindings)})`,
    "process.stdout.write(JSON.stringify({ status: response.status, text: await response.text() }))",
  ].join("\n")
  const answer = await run(program)
  const json = JSON.parse(answer.text) as unknown
  if (answer.status === 200) return json
  throw refused({ url: new URL(NOWHERE) }, answer.status, json)
}

/** What its sources need, and a store that nobody asks. */
function bindingsOf(config: Config, directory: string): Record<string, string> {
  const held = heldVars(directory, process.env)
  const { missing } = resolveSecrets(config, held)
  const made = missing.flatMap(({ path, name }) => {
    const [part, source = ""] = path.split(".")
    return part === "sources" ? [[name, newSourceSecret(config.sources[source]?.type ?? "")] as const] : []
  })
  const named = Object.values(config.sources).flatMap(({ secret }) => [secret].flat())
  const secrets = named.flatMap(({ secret }) => (held[secret] ? [[secret, held[secret]] as const] : []))
  return {
    ...Object.fromEntries([...made, ...secrets]),
    UPSTASH_REDIS_REST_URL: NOWHERE,
    UPSTASH_REDIS_REST_TOKEN: "-",
  }
}

/** Runs a module; on standard input, as it holds secrets, which arguments would show to everybody here. */
async function run(program: string): Promise<{ readonly status: number; readonly text: string }> {
  const child = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", "--input-type=module", "-"],
    {
      // What it imports is named by absolute paths, and their packages are ours.
      cwd: packageRoot,
      // What it needs of secrets stands in the program.
      env: systemEnv(process.env),
      stdio: ["pipe", "pipe", "pipe"],
    },
  )
  // One that ends before it has read all says why on standard error.
  child.stdin.on("error", () => {})
  child.stdin.end(program)
  const [said, trouble] = await Promise.all([text(child.stdout), text(child.stderr)])
  try {
    return JSON.parse(said) as { readonly status: number; readonly text: string }
  } catch (cause) {
    const why = /^\w*Error: .*$/m.exec(trouble)?.[0] ?? "it said nothing"
    throw new CliError("failed", `the Worker of this configuration does not run here: ${why}`, { cause })
  }
}
