import { existsSync } from "node:fs"
import {
  access,
  constants,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from "node:fs/promises"
import { homedir, tmpdir } from "node:os"
import { basename, delimiter, dirname, isAbsolute, join } from "node:path"
import { libraryPath, unpack } from "./debian.ts"
import { run } from "./run.ts"

/**
 * The oldest on which every promise of docs/guarantees.md was seen to hold. On 6.2 a key of the wrong type is not set
 * aside and stops its lane for ever, and `infra/redis/users.acl` is refused. Valkey and Redict begin above it.
 */
const OLDEST_REDIS = { major: 7, minor: 0 }

/** What an interrupted fetch left behind is removed by a later one when it is as old as this. */
const LEFTOVER_AGE_MS = 3_600_000

export interface ProvisionOptions {
  /** Told of what takes a while, one line for people each. Default: nobody is. */
  readonly onProgress?: (line: string) => void
  /** Directories to look for programs in, written as in PATH. Default: the PATH of this process. */
  readonly path?: string
  /**
   * Where fetched programs are kept. Default: `node_modules/.cache/tidemark` in this package, or where that
   * cannot be written `tidemark` in the user's cache directory.
   */
  readonly cacheDirectory?: string
  /** Ends a fetch half-way. Default: nothing does. */
  readonly signal?: AbortSignal
}

/** A program that was seen to answer. */
export interface Binary {
  readonly file: string
  /** What it needs in its environment. */
  readonly env: Readonly<Record<string, string>>
  readonly version: string
}

/** A Varnish that was seen to take our VCL, with a C compiler that was seen to work. */
export interface VarnishInstall {
  readonly varnishd: Binary
  /** Where its modules lie. Undefined: where it was built to look. */
  readonly vmodPath: string | undefined
  /** How it compiles VCL: its parameter `cc_command`. */
  readonly ccCommand: string
}

/** An nginx that was seen to take our configuration, with its module ngx_cache_purge. */
export interface NginxInstall {
  readonly nginx: Binary
  /** The module's file. Undefined: it is built in. */
  readonly module: string | undefined
}

/** Where one kind of program is found, and how it is fetched. */
export interface Recipe<Found> {
  /** For people. */
  readonly name: string
  /** What it is kept under. Default: its name. */
  readonly folder?: string
  /** What a person can do when all else failed: the end of a sentence. */
  readonly advice: string
  /** Kept for all of the user's projects rather than with this package: it is large. Default false. */
  readonly isShared?: boolean
  /** What is there without a fetch, as on the PATH. Rejects, saying why, where that will not do: then it is fetched. */
  find(path: string): Promise<Found | undefined>
  /** Puts all of it into the place's tree. Rejects, saying why, where it cannot. */
  fetch(place: FetchPlace): Promise<void>
  /** Rejects, saying why, unless the fetched tree works. */
  getFromTree(tree: string, path: string): Promise<Found>
}

/** What a fetch works with. */
export interface FetchPlace {
  /** For files on the way: it goes when the fetch is over. */
  readonly work: string
  /** Where all of it belongs: does not exist yet. */
  readonly tree: string
  readonly path: string
  readonly onProgress: (line: string) => void
  readonly signal: AbortSignal | undefined
}

const redisRecipe: Recipe<Binary> = {
  name: "redis-server",
  advice: `install redis-server ${OLDEST_REDIS.major}.${OLDEST_REDIS.minor} or newer (or valkey-server) or set REDIS_URL`,
  fetch: (place) => unpack("redis-server", ["redis-server", "redis-tools"], place),
  async find(path) {
    const files = filesOnPath(path, "redis-server", "valkey-server", "redict-server")
    return files.length === 0 ? undefined : getFirst(files, "a server", (file) => getRedis(file, {}))
  },
  getFromTree: async (tree) =>
    getRedis(join(tree, "usr/bin/redis-server"), await libraryPath(tree), "the system's redis-server"),
}

const varnishRecipe: Recipe<VarnishInstall> = {
  name: "varnish",
  advice: "install varnish, varnish-modules (for its xkey) and a C compiler (gcc or tcc)",
  fetch: (place) => unpack("varnish", ["varnish", "varnish-modules", "tcc"], place),
  find(path) {
    const compilers = [...systemCompilers(path), ...filesOnPath(path, "tcc").map((file) => tccCommand(file))]
    return findFirst(filesOnPath(path, "varnishd"), (file) => getVarnish(file, compilers, path))
  },
  async getFromTree(tree, path) {
    const own = [`-B${await getDirectoryOf(tree, "libtcc1.a")}`, `-I${await writeHeaders(tree)}`]
    const compilers = [...systemCompilers(path), tccCommand(join(tree, "usr/bin/tcc"), own)]
    const modules = await getDirectoryOf(tree, "libvmod_xkey.so")
    return getVarnish(join(tree, "usr/sbin/varnishd"), compilers, path, await libraryPath(tree), modules)
  },
}

const NGINX_MODULE = "ngx_http_cache_purge_module.so"

const nginxRecipe: Recipe<NginxInstall> = {
  name: "nginx",
  advice: "install nginx and its module ngx_cache_purge (libnginx-mod-http-cache-purge)",
  fetch: (place) => unpack("nginx", ["nginx", "libnginx-mod-http-cache-purge"], place),
  find: (path) => findFirst(filesOnPath(path, "nginx"), (file) => getNginx(file)),
  async getFromTree(tree) {
    const module = join(await getDirectoryOf(tree, NGINX_MODULE), NGINX_MODULE)
    return getNginx(join(tree, "usr/sbin/nginx"), await libraryPath(tree), module)
  },
}

const phpRecipe: Recipe<Binary> = {
  name: "php",
  advice: "install php-cli",
  fetch: (place) => unpack("php", ["php-cli"], place),
  find: (path) => findFirst(filesOnPath(path, "php"), (file) => getPhp(file, {})),
  async getFromTree(tree) {
    // Named after its release, which differs from system to system.
    const names = (await readdir(join(tree, "usr/bin"))).filter((name) => /^php\d+\.\d+$/.test(name))
    const env = await libraryPath(tree)
    return getFirst(names, "a php", (name) => getPhp(join(tree, "usr/bin", name), env))
  },
}

/**
 * A Redis, Valkey or Redict, 7.0 or newer, to start: on the PATH, fetched before, or fetched now (some 1.4 MB) with the
 * system's apt-get, without root. Seen to answer `--version`. Safe to call from several processes at once.
 * @throws {Error} If there is none to be had, in one sentence that says how to get one; `cause` has the details.
 */
export function findRedis(options: ProvisionOptions = {}): Promise<Binary> {
  return provision(redisRecipe, options)
}

/**
 * A Varnish to start that has vmod_xkey, found as `findRedis` does (some 1.6 MB). Seen to take `tidemark.vcl`.
 * Needs no C compiler: it brings a small one for where the system has none.
 * @throws {Error} If there is none to be had, in one sentence that says how to get one; `cause` has the details.
 */
export function findVarnish(options: ProvisionOptions = {}): Promise<VarnishInstall> {
  return provision(varnishRecipe, options)
}

/**
 * An nginx to start that has ngx_cache_purge, found as `findRedis` does (some 0.6 MB). Seen to take `tidemark.conf`.
 * @throws {Error} If there is none to be had, in one sentence that says how to get one; `cause` has the details.
 */
export function findNginx(options: ProvisionOptions = {}): Promise<NginxInstall> {
  return provision(nginxRecipe, options)
}

/**
 * A PHP for the command line, found as `findRedis` does (some 2.8 MB): what an example that we ship is tried with.
 * @throws {Error} If there is none to be had, in one sentence that says how to get one; `cause` has the details.
 */
export function findPhp(options: ProvisionOptions = {}): Promise<Binary> {
  return provision(phpRecipe, options)
}

/** The configuration that we ship, as `infra/nginx` has it. */
export const nginxConfiguration = (name: "tidemark.conf" | "tidemark-plus.conf"): Promise<string> =>
  readFile(join(packageDirectory(), "infra/nginx", name), "utf8")

/** What an nginx needs to be told to stay within one directory, and by which user it may: before `http`, and in it. */
export function nginxWithin(
  directory: string,
  module: string | undefined,
): { readonly main: string; readonly http: string } {
  const main = [
    ...(module === undefined ? [] : [`load_module "${module}"`]),
    // Started by root it would become a user who may not write here.
    ...(process.getuid?.() === 0 ? ["user root"] : []),
    "daemon off",
    `pid "${directory}/nginx.pid"`,
    "error_log stderr",
  ]
  const http = [
    "access_log off",
    ...["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
      (each) => `${each}_temp_path "${directory}/${each}"`,
    ),
    `proxy_cache_path "${directory}/cache" keys_zone=tidemark:4m`,
  ]
  const lines = (texts: readonly string[]) => texts.map((text) => `${text};\n`).join("")
  return { main: `${lines(main)}events {}\n`, http: lines(http) }
}

/**
 * The arguments without which this varnishd cannot compile our VCL. They come first on its command line.
 * @param vclPath More directories, in which `include` looks before it looks in `infra/varnish`.
 */
export function varnishArguments(
  install: Pick<VarnishInstall, "vmodPath" | "ccCommand">,
  vclPath: readonly string[] = [],
): string[] {
  // Without a jail: it needs root to make one, and has no business with users other than ours.
  const args = ["-j", "none", "-p", `cc_command=${install.ccCommand}`]
  if (install.vmodPath !== undefined) args.push("-p", `vmod_path=${install.vmodPath}`)
  args.push("-p", `vcl_path=${[...vclPath, join(packageDirectory(), "infra/varnish")].join(":")}`)
  return args
}

/**
 * Finds what a recipe is for, there already, fetched before, or fetched now. Safe to call from several processes at once.
 * @throws {Error} If there is none to be had, in one sentence that says how to get one; `cause` has the details.
 */
export async function provision<Found>(recipe: Recipe<Found>, options: ProvisionOptions): Promise<Found> {
  const path = options.path ?? process.env["PATH"] ?? ""
  let refused: string | undefined
  const found = await recipe.find(path).catch((error: unknown) => {
    refused = messageOf(error)
    return undefined
  })
  if (found !== undefined) return found

  const directories = cacheDirectories(options.cacheDirectory)
  if (recipe.isShared) directories.reverse()
  // Named after the system: a checkout may be shared with a container that runs another one.
  const slug = `${recipe.folder ?? recipe.name}-${await systemName()}`
  const trees = directories.map((directory) => join(directory, slug)).filter((tree) => existsSync(tree))
  const kept = await findFirst(trees, (tree) => recipe.getFromTree(tree, path))
  if (kept !== undefined) return kept

  if (refused !== undefined) options.onProgress?.(`${refused}: looking for another …`)
  try {
    return await fetchTree(recipe, join(await getWritable(directories), slug), path, options)
  } catch (cause) {
    const before = refused === undefined ? `no ${recipe.name} found and` : `${refused};`
    const message = `${before} none could be fetched (${messageOf(cause)}): ${recipe.advice}`
    throw new Error(message, { cause })
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

/** Everything happens beside `target`, and one rename makes it real: who dies half-way leaves nothing that counts. */
async function fetchTree<Found>(
  recipe: Recipe<Found>,
  target: string,
  path: string,
  { onProgress = () => undefined, signal }: ProvisionOptions,
): Promise<Found> {
  await removeLeftovers(dirname(target))
  const work = await mkdtemp(join(dirname(target), LEFTOVER_PREFIX))
  try {
    const tree = join(work, "tree")
    await recipe.fetch({ work, tree, path, onProgress, signal })
    await recipe.getFromTree(tree, path)
    for (let attempt = 1; ; attempt += 1) {
      try {
        await rename(tree, target)
        break
      } catch (error) {
        // Somebody else's fetch came first, or what was there before does not work and has to go.
        if ((await findFirst([target], (there) => recipe.getFromTree(there, path))) !== undefined) break
        if (attempt === 3) throw error
        await rename(target, join(work, `broken-${attempt}`)).catch(() => undefined)
      }
    }
    return await recipe.getFromTree(target, path)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

const LEFTOVER_PREFIX = "fetch-"

async function removeLeftovers(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    const leftover = join(directory, name)
    const age = Date.now() - ((await stat(leftover).catch(() => undefined))?.mtimeMs ?? Date.now())
    const isOld = name.startsWith(LEFTOVER_PREFIX) && age > LEFTOVER_AGE_MS
    if (isOld) await rm(leftover, { recursive: true, force: true })
  }
}

/**
 * @param name What it is called where it will not do.
 * @throws {Error} Unless it is a Redis, Valkey or Redict that runs here and is new enough.
 */
async function getRedis(
  file: string,
  env: Readonly<Record<string, string>>,
  name: string = file,
): Promise<Binary> {
  const answer = await run(file, ["--version"], { env })
  const [, version, major, minor] = /^(?:Redis|Valkey|Redict) server v=((\d+)\.(\d+)\S*)/m.exec(answer) ?? []
  if (version === undefined) throw new Error(`${name} does not say its version`)
  const { major: oldest, minor: oldestMinor } = OLDEST_REDIS
  if (Number(major) < oldest || (Number(major) === oldest && Number(minor) < oldestMinor))
    throw new Error(`${name} is ${version}, and ${oldest}.${oldestMinor} or newer is needed`)
  return { file, env, version }
}

/**
 * With the first of these compilers that works: a gcc that is there but has no linker or no headers is common.
 * @throws {Error} Unless it runs here, finds all modules that our VCL imports, and can compile it.
 */
async function getVarnish(
  file: string,
  compilers: readonly string[],
  path: string,
  env: Readonly<Record<string, string>> = {},
  vmodPath?: string,
): Promise<VarnishInstall> {
  const version = /varnish-(\d[\w.]*)/.exec(await run(file, ["-V"], { env }))?.[1]
  if (version === undefined) throw new Error(`${basename(file)} does not say its version`)
  return getFirst(compilers, "a C compiler", async (ccCommand) => {
    const install = { varnishd: { file, env, version }, vmodPath, ccCommand }
    await inScratch(async (scratch) => {
      const vcl = join(scratch, "probe.vcl")
      await writeFile(vcl, 'vcl 4.1;\nbackend none { .host = "127.0.0.1"; }\ninclude "tidemark.vcl";\n')
      // Compiles, and stops there.
      const args = [...varnishArguments(install), "-C", "-f", vcl, "-n", join(scratch, "varnish")]
      await run(file, args, { env: { ...env, PATH: path } })
    })
    return install
  })
}

/** @throws {Error} Unless it runs here, and takes the configuration that we ship. */
async function getNginx(
  file: string,
  env: Readonly<Record<string, string>> = {},
  module?: string,
): Promise<NginxInstall> {
  const said = await run(file, ["-V"], { env })
  const version = /nginx\/(\d[\w.]*)/.exec(said)?.[1]
  if (version === undefined) throw new Error(`${basename(file)} does not say its version`)
  const own = /--modules-path=([^\s']+)/.exec(said)?.[1]
  const modules = [...(module === undefined && own !== undefined ? [join(own, NGINX_MODULE)] : []), module]
  return getFirst(modules, "a module ngx_cache_purge", async (each) => {
    await inScratch(async (scratch) => {
      const { main, http } = nginxWithin(scratch, each)
      const probe = join(scratch, "probe.conf")
      await writeFile(probe, `${main}http {\n${http}${await nginxConfiguration("tidemark.conf")}}\n`)
      await run(file, ["-t", "-e", "stderr", "-p", scratch, "-c", probe], { env })
    })
    return { nginx: { file, env, version }, module: each }
  })
}

/** @throws {Error} Unless it runs here, and is one that WordPress still runs on. */
async function getPhp(file: string, env: Readonly<Record<string, string>>): Promise<Binary> {
  const version = /^PHP ((?:7\.[4-9]|[89]\.|\d\d)\S*) \(cli\)/m.exec(
    await run(file, ["-n", "-v"], { env }),
  )?.[1]
  if (version === undefined) throw new Error(`${basename(file)} is no PHP of 7.4 or newer`)
  return { file, env, version }
}

/** Not optimised, as varnishd would have it: VCL of this size does not gain what that costs at each start. */
function systemCompilers(path: string): string[] {
  return filesOnPath(path, "gcc", "cc").map((file) => `exec ${quoted(file)} -fpic -shared -w -o %o %s`)
}

/** Compiled VCL takes what it calls from varnishd: it needs no C library, so none of the C library's files either. */
function tccCommand(file: string, flags: readonly string[] = []): string {
  return `exec ${[file, ...flags].map(quoted).join(" ")} -nostdlib -shared -w -o %o %s`
}

/** VCL as C includes <stdint.h>, which tcc expects from the C library's headers. Its own <stddef.h> has the types. */
async function writeHeaders(tree: string): Promise<string> {
  const directory = join(tree, "usr/include/tidemark")
  const header = join(directory, "stdint.h")
  if (!existsSync(header)) {
    await mkdir(directory, { recursive: true })
    await writeFile(header, "#include <stddef.h>\n")
  }
  return directory
}

/** For a shell, and inside a parameter in which Varnish expands what follows a percent sign. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`).replaceAll("%", "%%")}'`
}

/** What `get` makes of the first candidate that it does not reject. */
async function findFirst<Candidate, Found>(
  candidates: readonly Candidate[],
  get: (candidate: Candidate) => Promise<Found>,
): Promise<Found | undefined> {
  return getFirst(candidates, "", get).catch(() => undefined)
}

/** @throws {Error} Why it did not take the last one. */
async function getFirst<Candidate, Found>(
  candidates: readonly Candidate[],
  what: string,
  get: (candidate: Candidate) => Promise<Found>,
): Promise<Found> {
  let reason: unknown = new Error(`there is not ${what}`)
  for (const candidate of candidates) {
    try {
      return await get(candidate)
    } catch (error) {
      reason = error
    }
  }
  throw reason
}

function filesOnPath(path: string, ...names: readonly string[]): string[] {
  const directories = path.split(delimiter).filter((directory) => isAbsolute(directory))
  return names
    .flatMap((name) => directories.map((directory) => join(directory, name)))
    .filter((file) => existsSync(file))
}

async function getDirectoryOf(tree: string, name: string): Promise<string> {
  const files = await readdir(tree, { recursive: true, withFileTypes: true })
  const file = files.find((each) => each.name === name)
  if (file === undefined) throw new Error(`${tree} has no ${name}`)
  return file.parentPath
}

/** The directory of this package's package.json: this file lies in `cli/` or, built, in `dist/cli/`. */
function packageDirectory(): string {
  let directory = import.meta.dirname
  while (!existsSync(join(directory, "package.json")) && dirname(directory) !== directory)
    directory = dirname(directory)
  return directory
}

function cacheDirectories(only: string | undefined): string[] {
  if (only !== undefined) return [only]
  const user = process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache")
  return [join(packageDirectory(), "node_modules/.cache/tidemark"), join(user, "tidemark")]
}

async function getWritable(directories: readonly string[]): Promise<string> {
  const writable = await findFirst(directories, async (directory) => {
    await mkdir(directory, { recursive: true })
    await access(directory, constants.W_OK | constants.X_OK)
    return directory
  })
  if (writable === undefined) throw new Error(`${directories.join(" and ")} cannot be written`)
  return writable
}

/** `debian12-x64`: what was unpacked on one system need not run on another. */
async function systemName(): Promise<string> {
  const release = await readFile("/etc/os-release", "utf8").catch(() => "")
  const field = (name: string) => new RegExp(`^${name}="?([\\w.-]*)`, "m").exec(release)?.[1] ?? ""
  return `${field("ID") || process.platform}${field("VERSION_ID")}-${process.arch}`
}

async function inScratch<Result>(work: (directory: string) => Promise<Result>): Promise<Result> {
  const scratch = await mkdtemp(join(tmpdir(), "tidemark-probe-"))
  try {
    return await work(scratch)
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}
