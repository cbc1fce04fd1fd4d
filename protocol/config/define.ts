import type { ConfigInput } from "./schema.ts"

export { secret } from "./secret.ts"
export type { ConfigInput } from "./schema.ts"
export type { Secret } from "./secret.ts"

/**
 * Says what a configuration is, for the editor's sake: it is plain data and comes back as it was given. Every part
 * reads it under one strict schema and reports all mistakes at once.
 *
 * @example
 * export default defineConfig({
 *   tokens: [{ name: "deploy", sha256: secret("DEPLOY_TOKEN_SHA256"), scopes: ["publish:*", "read:*"] }],
 *   namespaces: { blog: { hosts: ["www.example.com"] } },
 * })
 */
export const defineConfig = (config: ConfigInput): ConfigInput => config
