import { fileURLToPath } from "node:url"

const handler = fileURLToPath(import.meta.resolve("./isr-handler.mjs"))

/** With CACHE=next the app runs with what Next.js brings, to compare. */
const ours = process.env.CACHE !== "next"

/** @type {import("next").NextConfig} */
export default ours ? { cacheHandler: handler, cacheMaxMemorySize: 0 } : {}
