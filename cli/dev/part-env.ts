import type { Config } from "../../protocol/config/schema.ts"

/** Which variables each part of `dev` is given: what it uses, and no secret beside that. */

type Variables = Readonly<Record<string, string>>

const pick = (env: NodeJS.ProcessEnv, isWanted: (name: string) => boolean): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(env).filter(([name]) => isWanted(name)))

/** What any process needs of the system, of Node and of the tools that run a Worker; no variable that holds a secret. */
const SYSTEM =
  /^(?:PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|TZ|TERM|COLORTERM|NO_COLOR|FORCE_COLOR|CI|PWD|TMPDIR|TMP|TEMP|SystemRoot|ComSpec|windir|USERPROFILE|APPDATA|LOCALAPPDATA|LD_LIBRARY_PATH|LOG_LEVEL|(?:LC|XDG|NODE|SSL_CERT|ESBUILD|MINIFLARE|WORKERD|TIDEMARK_TEST)_\w+)$/i

export const systemEnv = (env: NodeJS.ProcessEnv): NodeJS.ProcessEnv => pick(env, (name) => SYSTEM.test(name))

const TLS_FILES: readonly string[] = ["REDIS_CA_FILE", "REDIS_CERT_FILE", "REDIS_KEY_FILE"]

/** The Redis that is started here speaks no TLS, and files for that would be refused. */
const tlsFiles = (env: NodeJS.ProcessEnv): NodeJS.ProcessEnv =>
  env["REDIS_URL"] ? pick(env, (name) => TLS_FILES.includes(name)) : {}

/** Of the variables, those that a part of the configuration names. */
function secretsIn(part: object, vars: Variables): Record<string, string> {
  const named = JSON.stringify(part).matchAll(/"secret":"([A-Z][A-Z0-9_]*)"/g)
  const names = new Set([...named].map((match) => match[1]))
  return Object.fromEntries(Object.entries(vars).filter(([name]) => names.has(name)))
}

/** The Worker verifies tokens and webhooks, and calls no target. */
export const workerSecrets = ({ tokens, sources }: Config, vars: Variables): Record<string, string> =>
  secretsIn({ tokens, sources }, vars)

/** The gateway knows Redis, and nothing of the configuration. */
export const gatewayEnv = (env: NodeJS.ProcessEnv): NodeJS.ProcessEnv => ({
  ...systemEnv(env),
  ...tlsFiles(env),
})

/**
 * The relay imports the configuration, which may read any variable of the environment, and calls the targets. What only
 * webhooks are verified by, and how the Worker reaches its store, it is not given; nor a variable that would send it
 * elsewhere.
 */
export function relayEnv(config: Config, env: NodeJS.ProcessEnv, vars: Variables): NodeJS.ProcessEnv {
  const { sources, ...others } = config
  const own = secretsIn(others, vars)
  const withheld = new Set([
    "REDIS_URL",
    "TIDEMARK_HOST",
    "UPSTASH_REDIS_REST_TOKEN",
    ...TLS_FILES,
    ...Object.keys(secretsIn(sources, vars)),
  ])
  return { ...pick(env, (name) => !withheld.has(name)), ...own, ...tlsFiles(env) }
}
