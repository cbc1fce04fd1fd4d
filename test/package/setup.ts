import { mkdtemp, readdir, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { TestProject } from "vitest/node"
import { installApart } from "../../scripts/apart.ts"
import servers from "../support/servers.ts"
import { exec, root } from "./support.ts"

declare module "vitest" {
  interface ProvidedContext {
    /** Path of what `npm pack` made of this clone. */
    readonly tarball: string
  }
}

/** Packs once for all tests. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  await servers()
  await installApart("test/frameworks")
  await installApart("test/types")
  const directory = await mkdtemp(join(tmpdir(), "tidemark-pack-"))
  await exec("npm", ["pack", "--pack-destination", directory], { cwd: root })
  const [tarball = ""] = await readdir(directory)
  project.provide("tarball", join(directory, tarball))
  return () => rm(directory, { recursive: true, force: true })
}
