import type { ConfigInput } from "../../protocol/config/schema.ts"
import { FakeAkamai } from "./akamai.ts"
import { FakeBunny } from "./bunny.ts"
import { FakeAzureFrontDoor } from "./azure-front-door.ts"
import { FakeCloudflare } from "./cloudflare.ts"
import { FakeCloudfront } from "./cloudfront.ts"
import type { Fake, FakeOptions } from "./fake.ts"
import { FakeFastly } from "./fastly.ts"
import { FakeGcore } from "./gcore.ts"
import { FakeKeycdn } from "./keycdn.ts"
import { FakeGoogleCloudCdn } from "./google-cloud-cdn.ts"
import { FakeReceiver } from "./http.ts"
import { FakeNetlify } from "./netlify.ts"
import { FakeNextjs } from "./nextjs.ts"
import { FakeNginx } from "./nginx.ts"
import { FakeSouin } from "./souin.ts"
import { FakeVercel } from "./vercel.ts"
import rfc from "../fixtures/rfc7515-rs256.json" with { type: "json" }
import { FakeWorkersCache } from "./workers-cache.ts"

type TargetInput = NonNullable<ConfigInput["targets"]>[string]

/** A type of target as a team configures it, and the vendor that its calls end at. */
export interface Subject {
  readonly target: Omit<TargetInput, "namespaces">
  readonly secrets: Readonly<Record<string, string>>
  readonly fake: (options: FakeOptions) => Fake
}

const ZONE = "023e105f4ecef8ad9ca31a8372d0c353"
const DISTRIBUTION = "EDFDVBD6EXAMPLE"
const AZURE = {
  subscription: "00000000-1111-2222-3333-444444444444",
  resourceGroup: "www",
  profile: "profile1",
  endpointName: "endpoint1",
  directory: "contoso.onmicrosoft.com",
  clientId: "11112222-bbbb-3333-cccc-4444dddd5555",
}
const NETLIFY_SITE = { id: "3970e0fe-8564-4903-9a55-c5f8de49fb8b", slug: "example-site" }
const NODE = "http://10.0.0.1:8081"
const HOOK = "https://app.example.com/hooks/tidemark"
const HOOK_KEY = "hook-secret-that-no-output-may-hold"
const SECRET = "a-secret-that-no-output-may-hold"

/** Every type of target that has a vendor with a cache. */
export const SUBJECTS: Readonly<Record<string, Subject>> = {
  cloudflare: {
    target: { type: "cloudflare", zone: ZONE, token: { secret: "TOKEN" }, plan: "pro" } as Subject["target"],
    secrets: { TOKEN: SECRET },
    fake: (options) => new FakeCloudflare({ ...options, zones: [ZONE], token: SECRET, plan: "pro" }),
  },
  cloudfront: {
    target: {
      type: "cloudfront",
      distribution: DISTRIBUTION,
      accessKeyId: { secret: "KEY_ID" },
      secretAccessKey: { secret: "KEY" },
      tags: true,
      completesIn: "1m",
    } as Subject["target"],
    secrets: { KEY_ID: "AKIDEXAMPLE", KEY: SECRET },
    fake: (options) =>
      new FakeCloudfront({
        ...options,
        distributions: [DISTRIBUTION],
        accessKeyId: "AKIDEXAMPLE",
        secretAccessKey: SECRET,
        hasTags: true,
        completesIn: 60_000,
      }),
  },
  "google-cloud-cdn": {
    target: {
      type: "google-cloud-cdn",
      project: "project-1",
      urlMap: "www",
      key: { secret: "KEY" },
    } as Subject["target"],
    secrets: {
      KEY: JSON.stringify({
        client_email: "purge@project-1.iam.gserviceaccount.com",
        private_key: `-----BEGIN PRIVATE KEY-----\n${rfc.pkcs8}\n-----END PRIVATE KEY-----\n`,
      }),
    },
    fake: (options) =>
      new FakeGoogleCloudCdn({
        ...options,
        project: "project-1",
        urlMap: "www",
        email: "purge@project-1.iam.gserviceaccount.com",
        publicKey: rfc,
        token: SECRET,
      }),
  },
  "azure-front-door": {
    target: { type: "azure-front-door", ...AZURE, clientSecret: { secret: "SECRET" } } as Subject["target"],
    secrets: { SECRET },
    fake: (options) =>
      new FakeAzureFrontDoor({ ...options, ...AZURE, clientSecret: SECRET, token: "azure-", looks: 0 }),
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
  nginx: {
    target: {
      type: "nginx",
      endpoints: [NODE],
      module: "cache-purge",
      wildcards: true,
    } as Subject["target"],
    secrets: {},
    fake: () => new FakeNginx({ nodes: [NODE], module: "3.0" }),
  },
  souin: {
    target: {
      type: "souin",
      endpoints: [NODE],
      token: { secret: "TOKEN" },
      expressions: true,
    } as Subject["target"],
    secrets: { TOKEN: SECRET },
    fake: () => new FakeSouin({ nodes: [NODE], token: SECRET }),
  },
  "workers-cache": {
    target: { type: "workers-cache", url: HOOK, secret: { secret: "HOOK_SECRET" } } as Subject["target"],
    secrets: { HOOK_SECRET: `whsec_${btoa(HOOK_KEY)}` },
    fake: (options) => new FakeWorkersCache({ ...options, url: HOOK, secret: `whsec_${btoa(HOOK_KEY)}` }),
  },
  http: {
    target: { type: "http", url: HOOK, secret: { secret: "HOOK_SECRET" } } as Subject["target"],
    secrets: { HOOK_SECRET: `whsec_${btoa(HOOK_KEY)}` },
    fake: (options) =>
      new FakeReceiver({
        ...options,
        url: HOOK,
        key: new TextEncoder().encode(HOOK_KEY),
        namespaces: { blog: "https://www.example.com/" },
      }),
  },
}
