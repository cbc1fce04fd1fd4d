import { readFile, rm, writeFile } from "node:fs/promises"
import { createRequire } from "node:module"
import { fileURLToPath, pathToFileURL } from "node:url"
import type { Handle, sequence as Sequence } from "@sveltejs/kit/hooks"
import { build, type Plugin } from "esbuild"
import type * as Compiler from "svelte/compiler"

/** A request's part of the site, which reaches it through `event.platform`. */
export interface Site {
  readonly handle: Handle
  readonly load: (event: {
    readonly request: Request
    setHeaders(headers: Record<string, string>): void
  }) => unknown
  readonly get: (event: {
    readonly request: Request
    readonly fetch: typeof fetch
  }) => Response | Promise<Response>
  /** As Cloudflare's adapter has it, and as others do. */
  readonly ctx?: unknown
  readonly context?: unknown
}

export interface SvelteKitServer {
  /** The server's own, which knows the requests that it answers. */
  readonly sequence: typeof Sequence
  respond(request: Request, options: { platform: Site; getClientAddress(): string }): Promise<Response>
}

const require = createRequire(import.meta.url)
const KIT = fileURLToPath(new URL("node_modules/@sveltejs/kit/src/", import.meta.url))

/** What SvelteKit's build would generate for a site without a file system. */
const GENERATED: Readonly<Record<string, string>> = {
  "<sveltekit:generated>/server.js": `
    export const options = {
      app_template_contains_nonce: false, csp: { mode: "auto", directives: {}, reportOnly: {} }, csrf_trusted_origins: [],
      service_worker_options: null,
      templates: { app: ({ body }) => "<html>" + body + "</html>", error: ({ status, message }) => status + " " + message },
    }
    export const get_hooks = async () => ({
      handle: ({ event, resolve }) => event.platform.handle({ event, resolve }),
      handleError: ({ error, message }) => ({ message: String(error ?? message) }),
    })`,
  "<sveltekit:generated>/env/config.js":
    "export const rendered_env = {}; export const set_env = () => undefined",
}

const DEFINED: Readonly<Record<string, unknown>> = {
  ADAPTER_NAME: "test",
  APP_DIR: "_app",
  APP_VERSION: "1",
  APP_VERSION_CHECKS_ENABLED: false,
  APP_VERSION_FILE: "version.json",
  APP_VERSION_POLL_INTERVAL: 0,
  CLIENT_ROUTING: true,
  CSRF_CHECK_ORIGIN: true,
  DEV: false,
  EMBEDDED: false,
  FORK_PRELOADS: false,
  GLOBAL_NAME: "__sveltekit",
  HASH_ROUTING: false,
  HAS_SERVER_LOAD: true,
  HAS_UNIVERSAL_LOAD: false,
  LINK_HEADER_PRELOAD: false,
  PATHS_ASSETS: "",
  PATHS_BASE: "",
  PATHS_ORIGIN: undefined,
  PATHS_RELATIVE: false,
  SERVER_TRACING_ENABLED: false,
  SERVICE_WORKER: false,
  SUPPORTS_ASYNC: true,
  TRACK: false,
}

const svelteKit: Plugin = {
  name: "sveltekit",
  setup(bundler) {
    bundler.onResolve({ filter: /^<sveltekit:generated>/ }, ({ path }) => ({ path, namespace: "generated" }))
    bundler.onResolve({ filter: /^\$app\// }, ({ path }) => ({
      path: `${KIT}runtime/${path.slice(1)}${path.endsWith("/server") ? ".js" : "/server.js"}`,
    }))
    bundler.onLoad({ filter: /.*/, namespace: "generated" }, ({ path }) => ({
      contents: GENERATED[path] ?? "",
      resolveDir: KIT,
    }))
    bundler.onLoad({ filter: /\.svelte(?:\.js)?$/ }, async ({ path }) => {
      const compiler = (await import(
        pathToFileURL(require.resolve("svelte/compiler")).href
      )) as typeof Compiler
      const source = await readFile(path, "utf8")
      const compile = path.endsWith(".js") ? compiler.compileModule : compiler.compile
      return { contents: compile(source, { generate: "server", filename: path }).js.code }
    })
  },
}

const METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS"]

/**
 * SvelteKit's own server, with a page at `/{slug}` and an endpoint at `/api/{name}`, which ask the request's site.
 *
 * @param isEndpoint one endpoint instead, at all paths
 * @param hasFallback that answers any method
 */
export async function startSvelteKit(isEndpoint = false, hasFallback = false): Promise<SvelteKitServer> {
  const bundle = new URL(
    `node_modules/.sveltekit-${process.pid}-${isEndpoint}-${hasFallback}.mjs`,
    import.meta.url,
  )
  const built = await build({
    stdin: {
      contents: `export { configure } from "${KIT}runtime/server/index.js"; export { sequence } from "@sveltejs/kit/hooks"`,
      resolveDir: KIT,
    },
    bundle: true,
    write: false,
    format: "esm",
    platform: "node",
    target: "es2024",
    logLevel: "error",
    define: Object.fromEntries(
      Object.entries(DEFINED).map(([name, value]) => [
        `__SVELTEKIT_${name}__`,
        JSON.stringify(value) ?? "undefined",
      ]),
    ),
    plugins: [svelteKit],
    external: ["@opentelemetry/api"],
  })
  await writeFile(bundle, built.outputFiles[0]?.text ?? "")
  const { configure, sequence } = (await import(bundle.href)) as {
    configure(options: unknown): Promise<Omit<SvelteKitServer, "sequence"> & { init(): Promise<void> }>
    sequence: typeof Sequence
  }
  await rm(bundle)
  type Renderer = { push(html: string): void }
  const node =
    (index: number, component: unknown, server: object = {}) =>
    async () => ({
      index,
      imports: [],
      stylesheets: [],
      fonts: [],
      component: async () => component,
      server: { csr: false, ...server },
      server_id: `node-${index}`,
    })
  const server = await configure({
    manifest: {
      app_dir: "_app",
      app_path: "_app",
      assets: new Set(),
      mime_types: {},
      client: { start: "", app: "", imports: [], stylesheets: [], fonts: [] },
      nodes: [
        node(0, (renderer: Renderer, props: { children(renderer: Renderer): void }) =>
          props.children(renderer),
        ),
        node(1, (renderer: Renderer) => renderer.push("error")),
        node(
          2,
          (renderer: Renderer, { data }: { data: { text: string } }) => renderer.push(`<p>${data.text}</p>`),
          {
            load: (event: never) => (event as { platform: Site }).platform.load(event),
          },
        ),
      ],
      remotes: {},
      routes: [
        {
          id: isEndpoint ? "/[...name]" : "/api/[name]",
          pattern: isEndpoint ? /^(?:\/([^]*))?\/?$/ : /^\/api\/([^/]+?)\/?$/,
          params: [{ name: "name", optional: false, rest: isEndpoint, chained: false }],
          page: null,
          endpoint: async () =>
            Object.fromEntries(
              (hasFallback ? ["fallback"] : isEndpoint ? METHODS : ["GET"]).map((method) => [
                method,
                (event: never) => (event as { platform: Site }).platform.get(event),
              ]),
            ),
        },
        {
          id: "/[slug]",
          pattern: /^\/([^/]+?)\/?$/,
          params: [{ name: "slug", optional: false, rest: false, chained: false }],
          page: { layouts: [0], errors: [1], leaf: 2 },
          endpoint: null,
        },
      ],
      prerendered_routes: new Set(),
      matchers: async () => ({}),
      server_assets: {},
    },
  })
  await server.init()
  return { sequence, respond: (request, options) => server.respond(request, options) }
}
