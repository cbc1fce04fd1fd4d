import { fileURLToPath } from "node:url"

const handler = fileURLToPath(import.meta.resolve("./cache-handler.mjs"))

/** @type {import("next").NextConfig} */
export default {
  cacheComponents: true,
  partialPrefetching: true,
  // With CACHE=next the app runs with what Next.js brings, to compare.
  ...(process.env.CACHE === "next" ? {} : { cacheHandlers: { default: handler, remote: handler } }),
  turbopack: { root: import.meta.dirname },
}
