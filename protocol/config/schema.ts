import * as z from "zod/mini"
import { isNamespace, isPattern, NAME, NAMESPACE_RULE } from "../namespace.ts"
import { checked, duration, namespaceName } from "../schema.ts"
import { checkHost, checkPrefix, isOwnTag } from "../selector.ts"
import { DAY, HOUR, MINUTE } from "../time.ts"
import { secretSchema } from "./secret-schema.ts"
import { SOURCE_TRAITS, type SourceType } from "./source-options.ts"
import { TARGET_OPTIONS, vendorUrl } from "./target-options.ts"
import { variableName } from "./template.ts"

/** The whole configuration file: every key of it, also those that only later parts read. Nothing unknown passes. */

const name = z.string().check(
  z.regex(NAME, {
    error: "must be lower-case letters, digits and '-', 63 at most, starting with a letter or digit",
  }),
)

const pattern = z
  .string()
  .check(z.refine(isPattern, { error: `must be '*' or a namespace: ${NAMESPACE_RULE}` }))

/** Scopes that carry a pattern. */
export const SCOPE_KINDS = ["publish", "read", "epochs", "events"]
/** Scopes that stand alone. */
export const SCOPE_NAMES = ["everything", "metrics", "operate", "drain", "fleet"]
/** All there are, in every namespace: those of development's own token. */
export const ALL_SCOPES = [...SCOPE_KINDS.map((kind) => `${kind}:*`), ...SCOPE_NAMES]

const scope = z.string().check(
  z.refine(
    (text) => {
      if (SCOPE_NAMES.includes(text)) return true
      const at = text.indexOf(":")
      return SCOPE_KINDS.includes(text.slice(0, at)) && isPattern(text.slice(at + 1))
    },
    {
      error:
        "must be publish:, read:, epochs: or events: with a pattern, or everything, metrics, operate, drain or fleet",
    },
  ),
)

const hex64 = z
  .string()
  .check(z.regex(/^[0-9a-f]{64}$/i, { error: 'must be 64 hex digits, or secret("NAME")' }))
const hash = z.union([hex64, secretSchema], {
  error: 'must be the SHA-256 of the token in hex, or secret("NAME")',
})

const isDate = (text: string): boolean =>
  /^\d{4}-\d{2}-\d{2}$/.test(text) &&
  !Number.isNaN(Date.parse(text)) &&
  new Date(text).toISOString().startsWith(text)

const token = z.strictObject({
  name,
  sha256: z.union([hash, z.array(hash).check(z.minLength(1), z.maxLength(3))], {
    error: 'must be the SHA-256 of the token in hex, secret("NAME"), or a list of up to 3 of them',
  }),
  scopes: z.array(scope).check(z.minLength(1)),
  tenant: z._default(name, "default"),
  expires: z.optional(z.string().check(z.refine(isDate, { error: 'must be a day such as "2027-01-31"' }))),
})

const pass = z.optional(duration(24 * HOUR))

const namespace = z.strictObject({
  hosts: z.optional(z.array(checked(checkHost))),
  prefixes: z.optional(z.array(checked(checkPrefix))),
  maxCacheTtl: z.optional(duration()),
  maxTags: z.optional(z.int().check(z.gte(1))),
  wholeBy: z.optional(z.enum(["tag", "prefix", "host"])),
  tagPrefix: z.optional(
    z.string().check(
      z.maxLength(128),
      z.regex(/^[\x21-\x2b\x2d-\x7e]*$/, { error: "must be printable ASCII without spaces and commas" }),
      z.refine((text) => !isOwnTag(text), {
        error: "must not begin with ns/ or u:, however spelled: those tags are Tidemark's own",
      }),
    ),
  ),
  overflowTag: z.optional(z.boolean()),
  settle: pass,
  secondPass: pass,
})

const namespaceKey = z
  .string()
  .check(z.refine((text) => text === "*" || isNamespace(text), { error: `must be '*' or ${NAMESPACE_RULE}` }))
const namespaces = z.record(namespaceKey, namespace)

const matcher = z.union([z.string(), z.array(z.string()).check(z.minLength(1))], {
  error: "must be a text, or a list of texts of which one suffices",
})
const templates = z.optional(
  z.array(z.string().check(z.minLength(1), z.maxLength(2_048))).check(z.minLength(1)),
)

const rule = z.strictObject({
  when: z.optional(
    z.record(
      z.string().check(z.refine(variableName, { error: "must be a variable, or field:/pointer" })),
      matcher,
    ),
  ),
  namespace: z.optional(namespaceName),
  tags: templates,
  urls: templates,
  prefixes: templates,
  hosts: templates,
  mode: z.optional(z.enum(["invalidate", "purge"])),
  settle: pass,
  secondPass: pass,
})

const AUTH = /^(bearer|basic|body|header:[A-Za-z0-9-]{1,64}|query:[A-Za-z0-9_-]{1,64})$/

const source = z.strictObject({
  type: z.enum(Object.keys(SOURCE_TRAITS) as [SourceType, ...SourceType[]]),
  secret: z.union([secretSchema, z.array(secretSchema).check(z.minLength(1))], {
    error: 'must be secret("NAME"), or a list of them while rotating',
  }),
  namespace: namespaceName,
  tenant: z._default(name, "default"),
  auth: z.optional(
    z.string().check(z.regex(AUTH, { error: "must be bearer, basic, body, header:NAME or query:NAME" })),
  ),
  /** Whether a sender's older way of signing is taken too. */
  legacy: z._default(z.boolean(), false),
  tolerance: z.optional(duration(24 * HOUR)),
  environments: z.optional(z.array(z.string()).check(z.minLength(1))),
  fields: z.optional(
    z.record(z.string(), z.string().check(z.regex(/^(\/.*)?$/, { error: "must be a JSON pointer" }))),
  ),
  rules: z.optional(z.array(rule)),
  otherwise: z._default(z.enum(["ignore", "namespace"]), "ignore"),
  settle: pass,
  secondPass: pass,
})

const positive = z.number().check(z.gt(0))

function isOrigin(text: string): boolean {
  try {
    return /^https?:/.test(text) && new URL(text).origin === text
  } catch {
    return false
  }
}
const origin = z
  .string()
  .check(z.refine(isOrigin, { error: "must be an origin such as https://www.example.com, without a path" }))

/** What every target takes, whatever its vendor. */
const sharedTarget = {
  namespaces: z.array(pattern).check(z.minLength(1)),
  tenants: z._default(z.array(z.union([z.literal("*"), name])).check(z.minLength(1)), ["default"]),
  allowEverything: z._default(z.boolean(), false),
  onUnsupported: z._default(z.enum(["widen", "skip"]), "widen"),
  escalate: z.optional(
    z.strictObject({ selectors: z.int().check(z.gte(1)), to: z.enum(["namespace", "everything"]) }),
  ),
  account: z.optional(
    z
      .string()
      .check(z.regex(/^[A-Za-z0-9._-]{1,128}$/, { error: "must be letters, digits, '.', '_' and '-'" })),
  ),
  rate: z.optional(z.strictObject({ perSecond: positive, burst: positive })),
  window: z.prefault(duration(HOUR), "0"),
  secondPass: pass,
  timeout: z.prefault(duration(10 * MINUTE, 1), "10s"),
  verify: z.optional(
    z.strictObject({
      origins: z.array(origin).check(z.minLength(1)),
      sample: z._default(z.int().check(z.gte(1), z.lte(100)), 3),
    }),
  ),
  endpoint: z.optional(vendorUrl),
}

const targetOf = <T extends keyof typeof TARGET_OPTIONS>(type: T) =>
  z.strictObject({ type: z.literal(type), ...sharedTarget, ...TARGET_OPTIONS[type] })

const target = z.discriminatedUnion(
  "type",
  [
    targetOf("varnish"),
    targetOf("cloudflare"),
    targetOf("fastly"),
    targetOf("cloudfront"),
    targetOf("akamai"),
    targetOf("google-cloud-cdn"),
    targetOf("azure-front-door"),
    targetOf("bunny"),
    targetOf("keycdn"),
    targetOf("vercel"),
    targetOf("netlify"),
    targetOf("gcore"),
    targetOf("nginx"),
    targetOf("souin"),
    targetOf("nextjs"),
    targetOf("workers-cache"),
    targetOf("cloudflare-kv"),
    targetOf("edge-config"),
    targetOf("http"),
    targetOf("print"),
  ],
  { error: `must be one of ${Object.keys(TARGET_OPTIONS).join(", ")}` },
)

const notification = z.strictObject({
  url: vendorUrl,
  secret: secretSchema,
  events: z.array(z.string()).check(z.minLength(1)),
})

export const configSchema = z.strictObject({
  tokens: z._default(z.array(token), []),
  namespaces: z._default(namespaces, {}),
  tenants: z.optional(z.record(name, z.strictObject({ namespaces }))),
  sources: z._default(z.record(name, source), {}),
  targets: z._default(z.record(name, target), {}),
  notify: z.optional(z.record(name, notification)),
  log: z.prefault(
    z.strictObject({
      keep: z.prefault(duration(3650 * DAY), "7d"),
      maxEntries: z._default(z.int().check(z.gte(1)), 1_000_000),
    }),
    {},
  ),
  relay: z.prefault(
    z.strictObject({
      cors: z._default(z.array(z.string()), []),
      publicMetrics: z._default(z.boolean(), false),
      drain: z.prefault(duration(HOUR), "25s"),
      lease: z.prefault(duration(10 * MINUTE, 1), "5s"),
      poll: z.prefault(duration(10 * MINUTE, 1), "5s"),
      idle: z.optional(duration(HOUR, 1)),
      resync: z.prefault(
        z.strictObject({
          onIdentity: z._default(z.enum(["resync", "report"]), "resync"),
          mode: z._default(z.enum(["invalidate", "purge"]), "invalidate"),
          spread: z.prefault(duration(24 * HOUR), "0"),
        }),
        {},
      ),
    }),
    {},
  ),
})

/** The file as it is written. */
export type ConfigInput = z.input<typeof configSchema>

/** The file as it was read: defaults filled in, durations in milliseconds, secrets still by name. */
export type Config = z.output<typeof configSchema>
export type NamespaceConfig = Config["namespaces"][string]
export type SourceConfig = Config["sources"][string]
export type RuleConfig = NonNullable<SourceConfig["rules"]>[number]
export type TargetConfig = Config["targets"][string]
