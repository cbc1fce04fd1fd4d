import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { mkdtemp, realpath, rm } from "node:fs/promises"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import { createInterface } from "node:readline"
import { findVarnish, type VarnishInstall } from "../../cli/servers/provision.ts"
import { startVarnish } from "../../cli/servers/varnish.ts"

/** One PURGE or BAN that Varnish answered, by its own log. */
export interface VarnishPurge {
  /** When its request had come in; ms since 1970. */
  readonly at: number
  readonly status: number
  readonly method: string
  readonly path: string
  /** Of `xkey-purge` or `xkey-softpurge`. */
  readonly keys: readonly string[]
  readonly mode: "invalidate" | "purge"
  /** What a ban was asked for: patterns of host and of url, or `everything`. */
  readonly ban: { readonly host: string; readonly url: string; readonly everything: boolean }
}

/** A real Varnish in front of a site that answers everything, and what it says it was asked to purge. */
export interface VarnishEnd extends AsyncDisposable {
  readonly url: string
  /** In the order of the log. Said by Varnish, so a moment after the purge. */
  readonly purges: readonly VarnishPurge[]
}

const FIELDS = [
  "%{VSL:Timestamp:Start[1]}x",
  "%s",
  "%m",
  "%U",
  "%{xkey-purge}i",
  "%{xkey-softpurge}i",
  "%{x-tidemark-ban-host}i",
  "%{x-tidemark-ban-url}i",
  "%{x-tidemark-ban}i",
]

/** A line of its log may be as long as a header that the driver sends. */
const WHOLE_LINES = { vsl_reclen: "8k", vsl_buffer: "32k" }

/** @throws {Error} where there is no Varnish, or none that brings its `varnishncsa` */
export async function startVarnishEnd(): Promise<VarnishEnd> {
  const install = await findVarnish()
  const reader = logReader(install)
  const site = createServer((_, response) => response.end("a page\n"))
  await new Promise<void>((listening) => site.listen(0, "127.0.0.1", listening))
  const { port } = site.address() as AddressInfo
  const directory = await mkdtemp(join(await realpath(tmpdir()), "tidemark-varnish-end-"))
  const backend = { host: "127.0.0.1", port }
  const varnish = await startVarnish({ backend, directory, install, parameters: WHOLE_LINES })
  const query = 'ReqMethod ~ "^(PURGE|BAN)$"'
  const args = ["-n", join(directory, "varnish"), "-q", query, "-F", FIELDS.join("\t")]
  const child = spawn(reader, args, {
    env: { PATH: process.env["PATH"], ...install.varnishd.env },
    stdio: ["ignore", "pipe", "pipe"],
  })
  let said = ""
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()))
  const purges: VarnishPurge[] = []
  createInterface({ input: child.stdout }).on("line", (line) => purges.push(readLine(line)))
  const exited = new Promise<void>((done) => child.once("close", () => done()))
  const end: VarnishEnd = {
    url: varnish.url,
    purges,
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM")
      await exited
      await varnish.stop()
      await new Promise((closed) => site.close(closed))
      await rm(directory, { recursive: true, force: true })
    },
  }
  try {
    await seenToWork(end, () => {
      if (child.exitCode !== null) throw new Error(`varnishncsa ended: ${said}`)
    })
  } catch (error) {
    await end[Symbol.asyncDispose]()
    throw error
  }
  return end
}

/** From the same package: where it was fetched to, it lies beside; else where programs lie. */
function logReader({ varnishd }: VarnishInstall): string {
  const beside = join(dirname(varnishd.file), "../bin")
  const found = [beside, ...(process.env["PATH"] ?? "").split(delimiter)]
    .map((directory) => join(directory, "varnishncsa"))
    .find((file) => existsSync(file))
  if (found === undefined) throw new Error(`there is no varnishncsa beside ${varnishd.file}, nor on the PATH`)
  return found
}

/** A log that nobody was seen to write to would let every loss pass. */
async function seenToWork(end: VarnishEnd, check: () => void): Promise<void> {
  const key = "log-is-read"
  while (!end.purges.some(({ keys }) => keys.includes(key))) {
    check()
    await fetch(end.url, { method: "PURGE", headers: { "xkey-purge": key } })
    await new Promise((next) => setTimeout(next, 50))
  }
}

function readLine(line: string): VarnishPurge {
  const [start = "", status = "", method = "", path = "", ...rest] = line
    .split("\t")
    .map((field) => (field === "-" ? "" : field))
  const [hard = "", soft = "", host = "", url = "", ban = ""] = rest
  return {
    at: Number(start) * 1_000,
    status: Number(status),
    method,
    path,
    keys: (hard || soft).split(" ").filter((key) => key !== ""),
    mode: soft === "" ? "purge" : "invalidate",
    ban: { host, url, everything: ban === "everything" },
  }
}
