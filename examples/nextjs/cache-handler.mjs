import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { createTidemark, workerStore } from "tidemark/client"
import { createCacheHandler } from "tidemark/next"

/** What `npm start` in the repository made. In your app, the token comes from the environment alone. */
const devToken = join(process.cwd(), "../../.tidemark/dev.token")

const token =
  process.env.TIDEMARK_TOKEN ?? (existsSync(devToken) ? readFileSync(devToken, "utf8").trim() : "")

const tidemark = createTidemark({
  store: workerStore({ url: process.env.TIDEMARK_URL ?? "http://127.0.0.1:8787", token }),
  ttl: Number(process.env.TIDEMARK_TTL ?? 1_000),
})

export default createCacheHandler({
  tidemark,
  namespace: "blog",
  onWarning: ({ message, cause }) => console.warn(message, cause),
})
