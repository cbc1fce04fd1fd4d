import { join } from "node:path"
import { fileURLToPath } from "node:url"

const handler = fileURLToPath(import.meta.resolve("./cache-handler.mjs"))

/** @type {import("next").NextConfig} */
export default {
  cacheComponents: true,
  partialPrefetching: true,
  // With CACHE=next the app runs with what Next.js brings, to compare.
  ...(process.env.CACHE === "next" ? {} : { cacheHandlers: { default: handler, remote: handler } }),
  // Where `tidemark` lies. An app that has it from the registry needs no such line.
  turbopack: { root: join(import.meta.dirname, "../..") },
}
