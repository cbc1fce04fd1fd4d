import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { setTimeout } from "node:timers/promises"

/** Stands for a CMS that takes its time: what it answers was read at the beginning. Without the file it is away. */
export async function read(milliseconds = 0) {
  const text = await readFile(join(process.cwd(), "content/post-1.txt"), "utf8")
  await setTimeout(milliseconds)
  return text.trim()
}
