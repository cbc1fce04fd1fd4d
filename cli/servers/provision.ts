import { execFile } from "node:child_process"
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

/** ZMSCORE, which looks the epochs of tags up, came with it. */
const OLDEST_REDIS = { major: 6, minor: 2 }

const PROBE_TIMEOUT_MS = 10_000

/** For one run of apt-get, over a slow line: the lists of packages are some 10 to 20 MB. */
const APT_TIMEOUT_MS = 300_000

/** Of what a program printed before it failed, in characters. */
const KEPT_OUTPUT = 2_000

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
  /** What is there without a fetch, as on the PATH. */
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
  advice: "install redis-server (or valkey-server) or set REDIS_URL",
  fetch: (place) => unpack("redis-server", ["redis-server", "redis-tools"], place),
  find: (path) => findFirst(filesOnPath(path, "redis-server", "valkey-server"), (file) => getRedis(file, {})),
  getFromTree: async (tree) => getRedis(join(tree, "usr/bin/redis-server"), await libraryPath(tree)),
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
 * A Redis or Valkey, 6.2 or newer, to start: on the PATH, fetched before, or fetched now (some 1.4 MB) with the
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
  const found = await recipe.find(path)
  if (found !== undefined) return found

  const directories = cacheDirectories(options.cacheDirectory)
  if (recipe.isShared) directories.reverse()
  // Named after the system: a checkout may be shared with a container that runs another one.
  const slug = `${recipe.folder ?? recipe.name}-${await systemName()}`
  const trees = directories.map((directory) => join(directory, slug)).filter((tree) => existsSync(tree))
  const kept = await findFirst(trees, (tree) => recipe.getFromTree(tree, path))
  if (kept !== undefined) return kept

  try {
    return await fetchTree(recipe, join(await getWritable(directories), slug), path, options)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    const message = `no ${recipe.name} found and none could be fetched (${reason}): ${recipe.advice}`
    throw new Error(message, { cause })
  }
}

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
 * Unpacks packages of the system, with apt's own look-up, signatures and all, but none of its root. Libraries that these
 * need and the system lacks come along.
 */
async function unpack(
  name: string,
  roots: readonly string[],
  { work, tree, path, onProgress, signal }: FetchPlace,
): Promise<void> {
  const debs = join(work, "debs")
  for (const directory of [
    tree,
    debs,
    join(work, "state/lists/partial"),
    join(work, "cache/archives/partial"),
  ]) {
    await mkdir(directory, { recursive: true })
  }
  const settings = [
    `Dir::State=${work}/state`,
    "Dir::State::status=/var/lib/dpkg/status",
    `Dir::Cache=${work}/cache`,
    "Debug::NoLocking=1",
    "APT::Sandbox::User=",
    "Acquire::Languages=none",
    "Acquire::Retries=2",
    "APT::Update::Error-Mode=any",
  ].flatMap((setting) => ["-o", setting])
  const apt = (program: string, ...args: string[]) =>
    run(program, [...settings, ...args], {
      cwd: debs,
      env: { ...process.env, PATH: path, LC_ALL: "C" },
      timeout: APT_TIMEOUT_MS,
      signal,
    })

  onProgress(`looking ${name} up in the system's package sources …`)
  // One bad source among many makes it fail. What counts is whether our packages are in the others.
  const trouble = await apt("apt-get", "update").then(
    () => undefined,
    (error: unknown) => error,
  )
  const show = (names: readonly string[]) =>
    apt("apt-cache", "show", "--no-all-versions", ...names).catch((error: unknown) => {
      throw trouble ?? error
    })
  const packages = await choosePackages(roots, show, await installedPackages(path))

  const size = packages.reduce((sum, each) => sum + each.size, 0)
  onProgress(`fetching ${name} (${(size / 1e6).toFixed(1)} MB) …`)
  await apt("apt-get", "download", ...packages.map((each) => each.name))
  for (const deb of await readdir(debs))
    await run("dpkg", ["-x", join(debs, deb), tree], { env: { ...process.env, PATH: path } })
}

interface Package {
  readonly name: string
  readonly architecture: string
  /** In bytes, as downloaded. */
  readonly size: number
  readonly depends: readonly string[]
}

/**
 * The packages asked for, and the libraries below them that are not installed. Their names differ from release
 * to release, so they are followed rather than listed. All else that packages depend on (users to create, init
 * scripts, the whole of gcc) is for running them as a service of the system.
 */
async function choosePackages(
  roots: readonly string[],
  show: (names: readonly string[]) => Promise<string>,
  installed: ReadonlySet<string>,
): Promise<Package[]> {
  const chosen = new Map<string, Package>()
  const seen = new Set(roots)
  for (let wanted = [...roots]; wanted.length > 0;) {
    const shown = parsePackages(await show(wanted))
    const added = shown.filter(
      ({ name, architecture }) => roots.includes(name) || !installed.has(`${name}:${architecture}`),
    )
    for (const each of added) chosen.set(each.name, each)
    wanted = added.flatMap((each) => each.depends).filter((name) => isLibrary(name) && !seen.has(name))
    wanted = [...new Set(wanted)]
    for (const name of wanted) seen.add(name)
  }
  const missing = roots.filter((name) => !chosen.has(name))
  if (missing.length > 0) throw new Error(`the package sources have no ${missing.join(" and no ")}`)
  return [...chosen.values()]
}

/** The C library is not among them: it is there, and a second one in the same process is a crash. */
function isLibrary(name: string): boolean {
  return /^(lib|lua-|php\d)/.test(name) && !/^libc\d|-dev$/.test(name)
}

function parsePackages(text: string): Package[] {
  return text.split(/\n\n+/).flatMap((stanza) => {
    const field = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(stanza)?.[1]
    const name = field("Package")
    if (name === undefined) return []
    const depends = [field("Pre-Depends"), field("Depends")]
      .flatMap((list) => list?.split(",") ?? [])
      .flatMap((alternatives) => /[^\s(:|]+/.exec(alternatives)?.[0] ?? [])
    return [{ name, architecture: field("Architecture") ?? "", size: Number(field("Size") ?? 0), depends }]
  })
}

/** As `name:architecture`. Empty where dpkg cannot tell, which costs some libraries fetched in vain. */
async function installedPackages(path: string): Promise<Set<string>> {
  const format = "${db:Status-Status} ${Package}:${Architecture}\n"
  const env = { ...process.env, PATH: path }
  const listed = await run("dpkg-query", ["-W", "-f", format], { env }).catch(() => "")
  return new Set([...listed.matchAll(/^installed (\S+)$/gm)].map((match) => match[1] ?? ""))
}

/** @throws {Error} Unless it is a Redis or Valkey that runs here and is new enough. */
async function getRedis(file: string, env: Readonly<Record<string, string>>): Promise<Binary> {
  const answer = await run(file, ["--version"], { env })
  const [, version, major, minor] = /^(?:Redis|Valkey) server v=((\d+)\.(\d+)\S*)/m.exec(answer) ?? []
  if (version === undefined) throw new Error(`${basename(file)} does not say its version`)
  const { major: oldest, minor: oldestMinor } = OLDEST_REDIS
  if (Number(major) < oldest || (Number(major) === oldest && Number(minor) < oldestMinor)) {
    throw new Error(`${basename(file)} is ${version}, and ${oldest}.${oldestMinor} is needed`)
  }
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

async function libraryPath(tree: string): Promise<Record<string, string>> {
  const files = await readdir(tree, { recursive: true, withFileTypes: true })
  const libraries = files.filter((file) => /^lib.+\.so(\.\d+)*$/.test(file.name))
  return { LD_LIBRARY_PATH: [...new Set(libraries.map((file) => file.parentPath))].join(":") }
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

interface RunOptions {
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string | undefined>>
  /** In milliseconds. Default 10 s. */
  readonly timeout?: number
  readonly signal?: AbortSignal | undefined
}

/**
 * Runs a program to its end, and answers what it printed on either stream.
 * @throws {Error} With the program's own last words, unless it exits with 0, in time.
 */
export function run(file: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { cwd, env = process.env, timeout = PROBE_TIMEOUT_MS, signal } = options
  return new Promise((resolve, reject) => {
    const settings = { cwd, env, timeout, signal, killSignal: "SIGKILL", maxBuffer: 64 * 2 ** 20 } as const
    execFile(file, args, settings, (error, stdout, stderr) => {
      if (error === null) return resolve(stdout + stderr)
      const printed = stderr.trim()
      const message = error.code === "ENOENT" ? "is not on the PATH" : (lastWords(printed) ?? "failed")
      // Not `error` itself: its message holds all that was printed, which may be pages of C.
      const cause = new Error(`${[file, ...args].join(" ")}\n${printed.slice(-KEPT_OUTPUT)}`)
      reject(new Error(`${basename(file)} ${error.killed ? "took too long" : message}`, { cause }))
    })
  })
}

/** Of apt and npm the first of their errors, as the later ones follow from it; of others the last line. */
function lastWords(printed: string): string | undefined {
  const [, first] =
    /^(?:E:|npm error(?! (?:code|errno|syscall|path) )) (?:network )?(.+)$/m.exec(printed) ?? []
  const words = first ?? printed.split("\n").at(-1)
  return words ? `says: ${words.replace(/\.$/, "")}` : undefined
}
