import { randomUUID } from "node:crypto"
import { writeFile } from "node:fs/promises"
import { request } from "node:http"
import { join } from "node:path"
import { inDirectory, onPort, type RunningServer, startServer } from "./process.ts"
import {
  findNginx,
  nginxConfiguration,
  type NginxInstall,
  nginxWithin,
  type ProvisionOptions,
} from "./provision.ts"

const PORT_VARIABLE = "TIDEMARK_NGINX_PORT"
const ANSWER_DEADLINE_MS = 1_000

/** Where the configuration that we ship listens for purges. */
const PURGE_ADDRESS = "127.0.0.1:8081"

export interface NginxOptions extends ProvisionOptions {
  /** Port on 127.0.0.1 for visitors. Default 0: any free one. */
  readonly port?: number
  /** What it caches for: a name or an address, and a port. It need not be up yet. */
  readonly backend: { readonly host: string; readonly port: number }
  /** Default: what `findNginx` finds. */
  readonly install?: NginxInstall
  /** Changes the configuration that we ship, as a site would. Default: as it is, but for the port. */
  readonly edit?: (configuration: string) => string
  /** More lines of the site's location. Default: none. */
  readonly location?: string
}

export interface RunningNginx extends RunningServer {
  /** Where it is asked to purge. */
  readonly purgeUrl: string
}

/**
 * Starts an nginx of our own on 127.0.0.1 that caches for a backend by `infra/nginx/tidemark.conf`, and waits until it
 * answers. Several may run side by side, each with a cache in a temporary directory. It ends with this process, also
 * where that is killed (see `process.ts`).
 * @throws {Error} If there is none and none can be fetched, or it does not start: `port N is taken: …`, or what nginx
 * said of its configuration.
 */
export async function startNginx(options: NginxOptions): Promise<RunningNginx> {
  const { backend, edit = (text) => text, location = "" } = options
  if (!/^[\w.:-]+$/.test(backend.host) || !Number.isInteger(backend.port)) {
    throw new TypeError(`a backend is a host name or address and a port, not ${backend.host}:${backend.port}`)
  }
  const install = options.install ?? (await findNginx(options))
  const shipped = edit(await nginxConfiguration("tidemark.conf"))
  const start = (port: number, purgePort: number) =>
    inDirectory("nginx", undefined, async (directory) => {
      const nonce = randomUUID()
      const { main, http } = nginxWithin(directory.path, install.module)
      const file = join(directory.path, "nginx.conf")
      await writeFile(
        file,
        `worker_processes 2;
${main}http {
${http}${shipped.replaceAll(PURGE_ADDRESS, `127.0.0.1:${purgePort}`)}
server {
  listen 127.0.0.1:${port};
  location / {
    proxy_cache tidemark;
    proxy_cache_key $tidemark_key;
    proxy_set_header Host $host;
    proxy_pass http://${backend.host}:${backend.port};
    ${location}
  }
  location = /${nonce} {
    return 204;
  }
}
}
`,
      )
      return startServer({
        name: "nginx",
        command: {
          file: install.nginx.file,
          args: ["-e", "stderr", "-p", directory.path, "-c", file],
          env: install.nginx.env,
        },
        directory,
        url: `http://127.0.0.1:${port}`,
        port,
        portVariable: PORT_VARIABLE,
        answers: () => answersReady(port, nonce),
      })
    })
  return onPort(options.port ?? 0, PORT_VARIABLE, (port) =>
    onPort(0, PORT_VARIABLE, async (purgePort) => ({
      ...(await start(port, purgePort)),
      purgeUrl: `http://127.0.0.1:${purgePort}`,
    })),
  )
}

/** Whether it is ours that answers: nobody else knows the path. */
function answersReady(port: number, nonce: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const asked = request({
    host: "127.0.0.1",
    port,
    path: `/${nonce}`,
    agent: false,
    timeout: ANSWER_DEADLINE_MS,
  })
  asked.on("response", (response) => {
    response.resume()
    resolve(response.statusCode === 204)
  })
  asked.on("timeout", () => asked.destroy())
  asked.on("error", () => resolve(false))
  asked.on("close", () => resolve(false))
  return (asked.end(), promise)
}
