import { findRedis, findVarnish } from "../../cli/servers/provision.ts"

/** Before any test: fetches what this machine lacks, so that no test's time goes into it. Later runs find it there. */
export default async function setup(): Promise<void> {
  await findRedis({ onProgress: say })
  await findVarnish({ onProgress: say })
}

function say(line: string): void {
  process.stderr.write(`${line}\n`)
}
