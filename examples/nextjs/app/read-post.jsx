import { cacheLife, cacheTag } from "next/cache"
import { readFile } from "node:fs/promises"
import { join } from "node:path"
import { setTimeout } from "node:timers/promises"

/** Stands for a CMS that takes its time: what it answers was read at the beginning. */
export async function readPost(id, seconds = 0) {
  "use cache"
  cacheTag(id)
  cacheLife("days")
  const text = await readFile(join(process.cwd(), "content", `${id}.txt`), "utf8")
  await setTimeout(seconds * 1_000)
  return { text: text.trim(), readAt: new Date().toISOString() }
}
