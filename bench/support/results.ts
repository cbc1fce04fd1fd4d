import { mkdir, writeFile } from "node:fs/promises"
import { cpus } from "node:os"
import { join } from "node:path"

/** Keeps a bench's figures in `bench/results/<name>.json`, with the machine that they are of. */
export async function writeResults(name: string, figures: Readonly<Record<string, unknown>>): Promise<void> {
  const folder = join(import.meta.dirname, "../results")
  await mkdir(folder, { recursive: true })
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version }
  const facts = { at: new Date().toISOString(), ...machine, ...figures }
  await writeFile(join(folder, `${name}.json`), `${JSON.stringify(facts, undefined, 2)}\n`)
  console.log(`\nwritten to bench/results/${name}.json`)
}
