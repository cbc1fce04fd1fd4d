import { existsSync } from "node:fs"
import { chmod, mkdir, readdir, writeFile } from "node:fs/promises"
import { join, relative } from "node:path"
import type { FetchPlace } from "./provision.ts"
import { run } from "./run.ts"

/** For one run of apt-get, over a slow line: the lists of packages are some 10 to 20 MB. */
const APT_TIMEOUT_MS = 300_000

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

/** Where the packages are, and which of those that they depend on come along. */
interface Source {
  /** For people: `the system's package sources`. */
  readonly name: string
  /** More settings of apt, `Name=value`. */
  readonly settings: readonly string[]
  /** What need not come along, as `name:architecture`. */
  readonly installed: ReadonlySet<string>
  /** Whether a package that one of ours depends on is fetched too. */
  readonly follows: (name: string) => boolean
}

/**
 * Unpacks packages of the system, with apt's own look-up, signatures and all, but none of its root. Libraries that these
 * need and the system lacks come along.
 */
export async function unpack(name: string, roots: readonly string[], place: FetchPlace): Promise<void> {
  await unpackFrom(name, roots, place, {
    name: "the system's package sources",
    settings: ["Dir::State::status=/var/lib/dpkg/status"],
    installed: await installedPackages(place.path),
    // The C library is there, and a second one in the same process is a crash.
    follows: (dependency) => isLibrary(dependency) && !isLibc(dependency),
  })
}

/**
 * Unpacks packages of suites of Debian that need not be the system's, from the mirror that the system's are from. All
 * libraries come along, the C library too: `wrap` runs a program with them.
 * @param suites `sid`, or `bookworm-backports` and what it builds on.
 */
export async function unpackOf(
  suites: readonly string[],
  name: string,
  roots: readonly string[],
  place: FetchPlace,
): Promise<void> {
  const mirror = await debianMirror(place.path)
  const list = join(place.work, "sources.list")
  const option = existsSync(KEYRING) ? `[signed-by=${KEYRING}] ` : ""
  await writeFile(list, suites.map((suite) => `deb ${option}${mirror} ${suite} main\n`).join(""))
  const status = join(place.work, "status")
  await writeFile(status, "")
  await unpackFrom(name, roots, place, {
    name: `Debian's ${suites.join(" and ")}`,
    settings: [
      `Dir::Etc::sourcelist=${list}`,
      "Dir::Etc::sourceparts=/dev/null",
      "Dir::Etc::preferences=/dev/null",
      "Dir::Etc::preferencesparts=/dev/null",
      // Nothing is installed in that world: else the system's own libraries would be chosen where they are newer.
      `Dir::State::status=${status}`,
    ],
    installed: new Set(),
    follows: isLibrary,
  })
}

/**
 * Writes a script that runs a program of an unpacked tree by the tree's own loader and C library, and answers where it
 * lies: in a directory that holds nothing else, fit for a PATH. The tree may be moved, with the script in it.
 * @throws {Error} Unless the tree has a loader.
 */
export async function wrap(tree: string, program: string, name: string): Promise<string> {
  const files = await readdir(tree, { recursive: true, withFileTypes: true })
  // Links lead out of the tree: they are absolute.
  const loader = files.find((file) => file.isFile() && /^ld-linux.*\.so\.\d+$/.test(file.name))
  if (loader === undefined) throw new Error(`${tree} has no loader`)
  const directory = join(tree, "tidemark")
  const within = (path: string) => `"$here/${relative(directory, path)}"`
  const libraries = librariesOf(files).map((path) => `$here/${relative(directory, path)}`)
  const script = [
    "#!/bin/sh",
    'here="${0%/*}"',
    `exec ${within(join(loader.parentPath, loader.name))} --library-path "${libraries.join(":")}" ${within(join(tree, program))} "$@"`,
    "",
  ].join("\n")
  await mkdir(directory, { recursive: true })
  const file = join(directory, name)
  await writeFile(file, script)
  await chmod(file, 0o755)
  return file
}

/** What a program of an unpacked tree needs in its environment to find the tree's libraries before the system's. */
export async function libraryPath(tree: string): Promise<Record<string, string>> {
  const files = await readdir(tree, { recursive: true, withFileTypes: true })
  return { LD_LIBRARY_PATH: librariesOf(files).join(":") }
}

function librariesOf(files: readonly { readonly name: string; readonly parentPath: string }[]): string[] {
  const libraries = files.filter((file) => /^lib.+\.so(\.\d+)*$/.test(file.name))
  return [...new Set(libraries.map((file) => file.parentPath))]
}

async function unpackFrom(
  name: string,
  roots: readonly string[],
  { work, tree, path, onProgress, signal }: FetchPlace,
  source: Source,
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
    `Dir::Cache=${work}/cache`,
    "Debug::NoLocking=1",
    "APT::Sandbox::User=",
    "Acquire::Languages=none",
    "Acquire::Retries=2",
    "APT::Update::Error-Mode=any",
    ...source.settings,
  ].flatMap((setting) => ["-o", setting])
  const apt = (program: string, ...args: string[]) =>
    run(program, [...settings, ...args], {
      cwd: debs,
      env: { ...process.env, PATH: path, LC_ALL: "C" },
      timeout: APT_TIMEOUT_MS,
      signal,
    })

  onProgress(`looking ${name} up in ${source.name} …`)
  // One bad source among many makes it fail. What counts is whether our packages are in the others.
  const trouble = await apt("apt-get", "update").then(
    () => undefined,
    (error: unknown) => error,
  )
  const show = (names: readonly string[]) =>
    apt("apt-cache", "show", "--no-all-versions", ...names).catch((error: unknown) => {
      throw trouble ?? error
    })
  const packages = await choosePackages(roots, show, source)

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
  { installed, follows }: Pick<Source, "installed" | "follows">,
): Promise<Package[]> {
  const chosen = new Map<string, Package>()
  const seen = new Set(roots)
  for (let wanted = [...roots]; wanted.length > 0;) {
    const shown = parsePackages(await show(wanted))
    const added = shown.filter(
      ({ name, architecture }) => roots.includes(name) || !installed.has(`${name}:${architecture}`),
    )
    for (const each of added) chosen.set(each.name, each)
    wanted = added.flatMap((each) => each.depends).filter((name) => follows(name) && !seen.has(name))
    wanted = [...new Set(wanted)]
    for (const name of wanted) seen.add(name)
  }
  const missing = roots.filter((name) => !chosen.has(name))
  if (missing.length > 0) throw new Error(`the package sources have no ${missing.join(" and no ")}`)
  return [...chosen.values()]
}

function isLibrary(name: string): boolean {
  return /^(z?lib|lua-|php\d)/.test(name) && !name.endsWith("-dev")
}

function isLibc(name: string): boolean {
  return /^libc\d/.test(name)
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

/** @throws {Error} Where the system's packages are from no mirror of Debian. */
async function debianMirror(path: string): Promise<string> {
  // Of sources that were never looked at too, as in a container that was just started.
  const args = ["-o", "APT::Get::IndexTargets::ReleaseInfo=no", "indextargets", "--format", "$(REPO_URI)"]
  const listed = await run("apt-get", args, { env: { ...process.env, PATH: path } })
  const mirror = listed.split("\n").find((uri) => /\/debian\/?$/.test(uri))
  if (mirror === undefined) throw new Error("the package sources of this system name no mirror of Debian")
  return mirror
}
