import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { packageRoot } from "./package-root.ts"

/** The module of the SDK that the Worker imports. */
export const UPSTASH_SDK = "@upstash/redis/cloudflare"

/**
 * A module that stands for the SDK in what is bundled: its transport without its two hundred commands, of which the
 * Worker, whose scripts run by name, calls none. They would be a quarter of what each cold start reads. The package has
 * no export for the transport alone, and its commands hang from one class, so that no bundler can leave them out.
 *
 * A version that is made differently is bundled whole, which the bundle's budget then tells.
 */
export function upstashTransport(): string {
  const whole = join(dirname(createRequire(join(packageRoot, "/")).resolve(UPSTASH_SDK)), "cloudflare.mjs")
  const found = /import \{[^}]*\bHttpClient\b[^}]*\} from "([^"]+)"/.exec(readFileSync(whole, "utf8"))?.[1]
  if (found === undefined) return `export { Redis } from ${JSON.stringify(whole)}\n`
  return [
    `import { HttpClient } from ${JSON.stringify(join(dirname(whole), found))}`,
    "export class Redis {",
    "  constructor({ url, token, retry, responseEncoding }) {",
    "    const headers = { authorization: `Bearer ${token}` }",
    "    this.client = new HttpClient({ baseUrl: url, headers, retry, responseEncoding })",
    "  }",
    "}",
    "",
  ].join("\n")
}
