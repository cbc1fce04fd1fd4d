import { execFile, execFileSync } from "node:child_process"
import { existsSync, globSync, readdirSync, statSync } from "node:fs"
import { chmod, cp, mkdir, mkdtemp, rm, symlink } from "node:fs/promises"
import { tmpdir } from "node:os"
import { basename, dirname, join, relative } from "node:path"
import { promisify } from "node:util"
import { read, root } from "./repository.ts"

/**
 * Builds images without Docker: the COPY and RUN lines of a Dockerfile are done in a directory, one a stage, with
 * exactly the files that its `.dockerignore` admits of a clean clone. What a base image brings is this machine's.
 */

const exec = promisify(execFile)

/** Every Dockerfile of the repository. */
export const DOCKERFILES = gitFiles().filter((file) => file.endsWith("Dockerfile"))

/** What a clean clone holds, and what is about to be committed. */
function gitFiles(): string[] {
  const args = ["ls-files", "--cached", "--others", "--exclude-standard"]
  const files = execFileSync("git", args, { cwd: root, encoding: "utf8" }).trim().split("\n")
  return files.filter((file) => existsSync(join(root, file)))
}

export interface Instruction {
  readonly name: string
  readonly text: string
}

/** The instructions of a Dockerfile, each on one line. */
export function instructionsOf(dockerfile: string): Instruction[] {
  const lines = read(dockerfile)
    .split("\n")
    .filter((line) => !/^\s*#/.test(line))
    .join("\n")
    .replaceAll(/\\\n\s*/g, " ")
    .split("\n")
  return lines
    .filter((line) => line.trim() !== "")
    .map((line) => {
      const [, name = "", text = ""] = /^(\w+)\s+(.*)$/.exec(line) ?? []
      return { name, text }
    })
}

/**
 * One pattern of a `.dockerignore` as an expression over paths: what it names, and all below.
 *
 * @see https://docs.docker.com/build/concepts/context/#syntax
 */
function expressionOf(pattern: string): RegExp {
  const escaped = pattern.replace(/^\/|\/$/g, "").replaceAll(/[.+^${}()|[\]\\]/g, String.raw`\$&`)
  const text = escaped
    .replaceAll("**/", "\u0001")
    .replaceAll("**", "\u0002")
    .replaceAll("*", "[^/]*")
    .replaceAll("?", "[^/]")
    .replaceAll("\u0001", "(?:.*/)?")
    .replaceAll("\u0002", ".*")
  return new RegExp(`^${text}(?:/.*)?$`)
}

/** The files of a clean clone that a build with this Dockerfile is given. The last pattern that fits decides. */
export function contextOf(dockerfile: string): string[] {
  const patterns = read(`${dockerfile}.dockerignore`)
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => ({
      admits: line.startsWith("!"),
      expression: expressionOf(line.replace(/^!/, "")),
    }))
  return gitFiles().filter(
    (file) => patterns.findLast(({ expression }) => expression.test(file))?.admits ?? true,
  )
}

/** How `npm ci` is done: by npm itself, or by the packages that this clone has, which need no registry. */
export type Installing = "npm" | "linked"

interface Stage {
  readonly directory: string
  workdir: string
}

export interface Image {
  /** What the last stage holds. */
  readonly directory: string
  /** Runs its entry point with its own Node and its own libraries. Never rejects for an exit code. */
  run(
    args: readonly string[],
    env?: Readonly<Record<string, string>>,
  ): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Builds the last stage of a Dockerfile.
 *
 * @throws whatever a RUN line ends with, or an instruction that is not understood here
 */
export async function buildImage(dockerfile: string, installing: Installing): Promise<Image> {
  const top = await mkdtemp(join(tmpdir(), "tidemark-image-"))
  try {
    const context = join(top, "context")
    for (const file of contextOf(dockerfile)) await cp(join(root, file), join(context, file))
    return await buildFrom(instructionsOf(dockerfile), context, top, installing)
  } catch (error) {
    await rm(top, { recursive: true, force: true })
    throw error
  }
}

async function buildFrom(
  instructions: readonly Instruction[],
  context: string,
  top: string,
  installing: Installing,
): Promise<Image> {
  const stages = new Map<string, Stage>()
  let stage: Stage = { directory: context, workdir: "/" }
  let entry: string[] = []
  for (const { name, text } of instructions) {
    switch (name) {
      case "FROM": {
        const [base = "", , called = String(stages.size)] = text.split(/\s+/)
        stage = { directory: join(top, `stage-${called}`), workdir: "/" }
        stages.set(called, stage)
        await mkdir(stage.directory)
        if (base !== "scratch") await installNode(stage.directory)
        break
      }
      case "WORKDIR":
        stage.workdir = text
        await mkdir(join(stage.directory, text), { recursive: true })
        break
      case "COPY":
        await copy(text, stage, context, stages)
        break
      case "RUN":
        await runLine(text, stage, installing)
        break
      case "ENTRYPOINT":
        entry = JSON.parse(text) as string[]
        break
      // These copy and run nothing.
      case "ARG":
      case "CMD":
      case "ENV":
      case "EXPOSE":
      case "HEALTHCHECK":
      case "USER":
        break
      default:
        throw new Error(`${name} is not understood here`)
    }
  }
  const { directory, workdir } = stage
  return {
    directory,
    run: (args, env = {}) => start(directory, workdir, [...entry, ...args], env),
    [Symbol.asyncDispose]: () => rm(top, { recursive: true, force: true }),
  }
}

/** Where the official image of Node has it. */
const NODE = "usr/local/bin/node"

async function installNode(directory: string): Promise<void> {
  await mkdir(join(directory, dirname(NODE)), { recursive: true })
  await cp(process.execPath, join(directory, NODE))
  await chmod(join(directory, NODE), 0o755)
}

/** As Docker does: of a folder what is in it, and several sources into a folder. What is not there is an error. */
async function copy(
  text: string,
  stage: Stage,
  context: string,
  stages: ReadonlyMap<string, Stage>,
): Promise<void> {
  const words = text.split(/\s+/)
  const options = words.filter((word) => word.startsWith("--"))
  const paths = words.filter((word) => !word.startsWith("--"))
  const [, from] = /^--from=(.+)$/.exec(options.join(" ")) ?? []
  const source = from === undefined ? context : stages.get(from)?.directory
  if (source === undefined || options.length > 1 || (options.length > 0 && from === undefined)) {
    throw new Error(`COPY ${options.join(" ")} is not understood here`)
  }
  const to = paths.at(-1) ?? ""
  const target = to.startsWith("/") ? join(stage.directory, to) : join(stage.directory, stage.workdir, to)
  for (const path of paths.slice(0, -1)) {
    const file = join(source, path)
    const isFolder = statSync(file).isDirectory()
    const into = !isFolder && (to.endsWith("/") || to === ".") ? join(target, basename(file)) : target
    await cp(file, into, { recursive: true, verbatimSymlinks: true })
  }
}

/** In the stage's directory, whose files a line's absolute paths mean. */
async function runLine(text: string, { directory, workdir }: Stage, installing: Installing): Promise<void> {
  const cwd = join(directory, workdir)
  if (installing === "linked" && /^npm ci\b/.test(text)) {
    await symlink(join(root, "node_modules"), join(cwd, "node_modules"))
    return
  }
  const up = relative(cwd, directory) || "."
  const line = text.replaceAll(/(?<=\s)\/(?=\w)/g, `${up}/`)
  await exec("sh", ["-euc", line], { cwd, env: { ...process.env, npm_config_update_notifier: "false" } })
}

/** By the loader that lies there, and no library of this machine's: what was not copied is missing. */
async function start(
  directory: string,
  workdir: string,
  command: readonly string[],
  env: Readonly<Record<string, string>>,
): ReturnType<Image["run"]> {
  const [loader] = globSync(join(directory, "lib*/**/ld-*.so*"))
  if (loader === undefined) throw new Error("the image has no loader")
  const folders = globSync(join(directory, "{lib,lib64,usr/lib}/**/*.so*")).map((file) => dirname(file))
  const [program = "", ...args] = command
  const libraries = ["--inhibit-cache", "--library-path", [...new Set(folders)].join(":")]
  try {
    const said = await exec(loader, [...libraries, join(directory, dirname(NODE), program), ...args], {
      cwd: join(directory, workdir),
      env,
    })
    return { code: 0, ...said }
  } catch (error) {
    const { code, stdout, stderr } = error as { code: unknown; stdout: string; stderr: string }
    if (typeof code !== "number") throw error
    return { code, stdout, stderr }
  }
}

/** What lies at the top of a directory. */
export const listOf = (directory: string): string[] => readdirSync(directory).toSorted()
