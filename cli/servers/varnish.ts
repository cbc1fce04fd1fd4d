import { randomUUID } from "node:crypto"
import { writeFile } from "node:fs/promises"
import { request } from "node:http"
import { join } from "node:path"
import { inDirectory, onPort, type RunningServer, startServer } from "./process.ts"
import { findVarnish, type ProvisionOptions, varnishArguments, type VarnishInstall } from "./provision.ts"

const PORT_VARIABLE = "TIDEMARK_VARNISH_PORT"
const ANSWER_DEADLINE_MS = 1_000

/**
 * Room for 32 KB of keys in one header line, either way, where Varnish allows 8 KB. The other sizes follow: all
 * headers of a message, and the workspaces that they are read into.
 */
const HEADER_ROOM = {
  http_req_hdr_len: "36k",
  http_req_size: "96k",
  http_resp_hdr_len: "36k",
  http_resp_size: "96k",
  workspace_client: "320k",
  workspace_backend: "320k",
}

/** The shared-memory log: nothing reads it here, and its usual 80 MB would lie in the temporary directory. */
const LOG_SPACE = "4m"

export interface VarnishOptions extends ProvisionOptions {
  /** Port on 127.0.0.1. Default 0: any free one. */
  readonly port?: number
  /** What it caches for: a name or an address, and a port. It need not be up yet. */
  readonly backend: { readonly host: string; readonly port: number }
  /** Working directory, which must exist and is kept. Default: a fresh temporary one, removed at the end. */
  readonly directory?: string
  /**
   * VCL text that follows the backend; `include "tidemark.vcl";` works in it.
   * Default: `infra/varnish/tidemark.vcl` alone.
   */
  readonly vcl?: string
  /** Default: what `findVarnish` finds. */
  readonly install?: VarnishInstall
  /** More of varnishd's run-time parameters; they win over ours. Default: none. */
  readonly parameters?: Readonly<Record<string, string>>
}

/**
 * Starts a Varnish of our own on 127.0.0.1 in front of a backend and waits until it answers. Several may run side
 * by side. 64 MB of cache, in memory. It ends with this process, also where that is killed (see `process.ts`).
 * @throws {Error} If there is none and none can be fetched, or it does not start: `port N is taken: …`, or what
 * the VCL compiler said.
 */
export async function startVarnish(options: VarnishOptions): Promise<RunningServer> {
  const backend = backendVcl(options.backend)
  const install = options.install ?? (await findVarnish(options))
  const start = (port: number) =>
    inDirectory("varnish", options.directory, async (directory) => {
      const nonce = randomUUID()
      const main = join(directory.path, "main.vcl")
      await writeFile(main, `vcl 4.1;\n${backend}\n${readyVcl(nonce)}\ninclude "site.vcl";\n`)
      await writeFile(join(directory.path, "site.vcl"), options.vcl ?? 'include "tidemark.vcl";\n')
      const flags = { "-f": main, "-n": join(directory.path, "varnish"), "-a": `127.0.0.1:${port}` }
      const parameters = { ...HEADER_ROOM, vsl_space: LOG_SPACE, ...options.parameters }
      const args = [
        ...varnishArguments(install, [directory.path]),
        "-F",
        ...Object.entries({ ...flags, "-T": "none", "-s": "malloc,64m" }).flat(),
        ...Object.entries(parameters).flatMap(([name, value]) => ["-p", `${name}=${value}`]),
      ]
      return startServer({
        name: "varnish",
        command: { file: install.varnishd.file, args, env: install.varnishd.env },
        directory,
        url: `http://127.0.0.1:${port}`,
        port,
        portVariable: PORT_VARIABLE,
        signal: options.signal,
        answers: () => answersReady(port, nonce),
      })
    })
  return onPort(options.port ?? 0, PORT_VARIABLE, start)
}

function backendVcl({ host, port }: VarnishOptions["backend"]): string {
  // Both end up between quotes in VCL.
  if (!/^[\w.:-]+$/.test(host) || !Number.isInteger(port)) {
    throw new TypeError(`a Varnish backend is a host name or address and a port, not ${host}:${port}`)
  }
  return `backend tidemark_site { .host = "${host}"; .port = "${port}"; }`
}

/** Lets us tell our instance from whatever else may answer on that port, without asking the backend. */
function readyVcl(nonce: string): string {
  return `sub vcl_recv { if (req.http.x-tidemark-ready == "${nonce}") { return (synth(200, "${nonce}")); } }`
}

function answersReady(port: number, nonce: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const headers = { "x-tidemark-ready": nonce }
  const asked = request({ host: "127.0.0.1", port, headers, agent: false, timeout: ANSWER_DEADLINE_MS })
  asked.on("response", (response) => {
    response.resume()
    resolve(response.statusMessage === nonce)
  })
  asked.on("timeout", () => asked.destroy())
  asked.on("error", () => resolve(false))
  asked.on("close", () => resolve(false))
  return (asked.end(), promise)
}
