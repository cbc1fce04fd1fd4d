import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { isRecord } from "./json.ts"
import { writePrivate } from "./private-file.ts"

/**
 * Where a running `tidemark dev` says that its parts answer: `.tidemark/dev-<pid>.json` beside the configuration, one
 * file each, as several may run beside one configuration. It holds no token, which lies in `.tidemark/dev.token`.
 */
export interface DevAddress {
  readonly pid: number
  /** The configuration file that it runs. */
  readonly config: string
  /** By part, such as `worker`. */
  readonly urls: Readonly<Record<string, string>>
  /** Milliseconds since 1970. */
  readonly startedAt: number
}

const FILE = /^dev-(\d{1,10})\.json$/

const folderOf = (directory: string): string => join(directory, ".tidemark")

const fileOf = (directory: string, pid: number): string => join(folderOf(directory), `dev-${pid}.json`)

/** Says where the parts answer, in place of what was said before. */
export function writeDevAddress(directory: string, address: DevAddress): void {
  mkdirSync(folderOf(directory), { recursive: true })
  writePrivate(fileOf(directory, address.pid), `${JSON.stringify(address)}\n`)
}

/** Takes it back; also what those left behind who were killed. */
export function removeDevAddress(directory: string, pid: number): void {
  for (const other of pidsIn(directory)) {
    if (other === pid || !isAlive(other)) rmSync(fileOf(directory, other), { force: true })
  }
}

export interface FoundAddress {
  readonly path: string
  /** Undefined where the `dev` that wrote it has ended. */
  readonly address: DevAddress | undefined
}

/**
 * The `tidemark dev` that was started last and still runs beside a configuration; where none does, what one left that
 * has ended.
 *
 * @param config only one that runs this configuration file counts. Default: any does
 */
export function findDevAddress(directory: string, config?: string): FoundAddress | undefined {
  const found = pidsIn(directory).map((pid) => ({
    path: fileOf(directory, pid),
    address: isAlive(pid) ? readAddress(directory, pid) : undefined,
  }))
  const running = found
    .filter(({ address }) => address && (config === undefined || address.config === config))
    .toSorted((a, b) => (b.address?.startedAt ?? 0) - (a.address?.startedAt ?? 0))
  return running[0] ?? found.find(({ address }) => address === undefined)
}

function pidsIn(directory: string): number[] {
  try {
    return readdirSync(folderOf(directory)).flatMap((name) => {
      const pid = FILE.exec(name)?.[1]
      return pid === undefined ? [] : [Number(pid)]
    })
  } catch {
    return []
  }
}

function readAddress(directory: string, pid: number): DevAddress | undefined {
  try {
    const read: unknown = JSON.parse(readFileSync(fileOf(directory, pid), "utf8"))
    if (!isRecord(read) || typeof read["config"] !== "string" || !isRecord(read["urls"])) return undefined
    const urls = Object.entries(read["urls"]).filter(
      (entry): entry is [string, string] => typeof entry[1] === "string",
    )
    return {
      pid,
      config: read["config"],
      urls: Object.fromEntries(urls),
      startedAt: Number(read["startedAt"]) || 0,
    }
  } catch {
    return undefined
  }
}

/** Whether a process of this id is there: it may be another by now, which the failed connection then tells. */
function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM"
  }
}
