import type { ConfigInput } from "../../protocol/config/schema.ts"
import { FakeAkamai } from "./akamai.ts"
import { FakeBunny } from "./bunny.ts"
import { FakeCloudflare } from "./cloudflare.ts"
import type { Fake, FakeOptions } from "./fake.ts"
import { FakeFastly } from "./fastly.ts"
import { FakeGcore } from "./gcore.ts"
import { FakeKeycdn } from "./keycdn.ts"
import { FakeNetlify } from "./netlify.ts"
import { FakeNextjs } from "./nextjs.ts"
import { FakeVercel } from "./vercel.ts"

type TargetInput = NonNullable<ConfigInput["targets"]>[string]

/** A type of target as a team configures it, and the vendor that its calls end at. */
export interface Subject {
  readonly target: Omit<TargetInput, "namespaces">
  readonly secrets: Readonly<Record<string, string>>
  readonly fake: (options: FakeOptions) => Fake
}

const ZONE = "023e105f4ecef8ad9ca31a8372d0c353"
const NETLIFY_SITE = { id: "3970e0fe-8564-4903-9a55-c5f8de49fb8b", slug: "example-site" }
const HOOK_KEY = "hook-secret-that-no-output-may-hold"
const SECRET = "a-secret-that-no-output-may-hold"

/** Every type of target that has a vendor with a cache. */
export const SUBJECTS: Readonly<Record<string, Subject>> = {
  cloudflare: {
    target: { type: "cloudflare", zone: ZONE, token: { secret: "TOKEN" }, plan: "pro" } as Subject["target"],
    secrets: { TOKEN: SECRET },
    fake: (options) => new FakeCloudflare({ ...options, zones: [ZONE], token: SECRET, plan: "pro" }),
  },
  vercel: {
    target: { type: "vercel", project: "prj_web", token: { secret: "TOKEN" } } as Subject["target"],
    secrets: { TOKEN: SECRET },
    fake: (options) => new FakeVercel({ ...options, project: "prj_web", token: SECRET }),
  },
  netlify: {
    target: { type: "netlify", site: NETLIFY_SITE.slug, token: { secret: "TOKEN" } } as Subject["target"],
    secrets: { TOKEN: SECRET },
    fake: (options) => new FakeNetlify({ ...options, site: NETLIFY_SITE, token: SECRET }),
  },
  gcore: {
    target: { type: "gcore", resource: 220_000, token: { secret: "TOKEN" } } as Subject["target"],
    secrets: { TOKEN: SECRET },
    fake: (options) => new FakeGcore({ ...options, resource: 220_000, token: SECRET }),
  },
  nextjs: {
    target: {
      type: "nextjs",
      url: "https://app.example.com/api/tidemark",
      secret: { secret: "HOOK_SECRET" },
      prefixes: true,
    } as Subject["target"],
    secrets: { HOOK_SECRET: `whsec_${btoa(HOOK_KEY)}` },
    fake: (options) =>
      new FakeNextjs({
        ...options,
        url: "https://app.example.com/api/tidemark",
        key: new TextEncoder().encode(HOOK_KEY),
      }),
  },
  fastly: {
    target: {
      type: "fastly",
      service: "SU1Z0isxPaozGVKXdv0eY",
      token: { secret: "TOKEN" },
    } as Subject["target"],
    secrets: { TOKEN: SECRET },
    fake: (options) => new FakeFastly({ ...options, services: ["SU1Z0isxPaozGVKXdv0eY"], token: SECRET }),
  },
  akamai: {
    target: {
      type: "akamai",
      host: "akab-host.purge.akamaiapis.net",
      clientToken: { secret: "CLIENT_TOKEN" },
      clientSecret: { secret: "CLIENT_SECRET" },
      accessToken: { secret: "ACCESS_TOKEN" },
      cpCodes: [12345, 67890],
    } as Subject["target"],
    secrets: { CLIENT_TOKEN: `${SECRET}-1`, CLIENT_SECRET: `${SECRET}-2`, ACCESS_TOKEN: `${SECRET}-3` },
    fake: (options) =>
      new FakeAkamai({
        ...options,
        host: "akab-host.purge.akamaiapis.net",
        clientToken: `${SECRET}-1`,
        clientSecret: `${SECRET}-2`,
        accessToken: `${SECRET}-3`,
        cpCodes: [12345, 67890],
      }),
  },
  bunny: {
    target: { type: "bunny", pullZone: 123456, token: { secret: "TOKEN" } } as Subject["target"],
    secrets: { TOKEN: SECRET },
    fake: (options) => new FakeBunny({ ...options, pullZone: 123456, token: SECRET }),
  },
  keycdn: {
    target: { type: "keycdn", zone: 209797, token: { secret: "TOKEN" }, tags: true } as Subject["target"],
    secrets: { TOKEN: SECRET },
    fake: (options) => new FakeKeycdn({ ...options, zone: 209797, token: SECRET }),
  },
}
