import type { ConfigInput } from "../../protocol/config/schema.ts"
import { FakeCloudflare } from "./cloudflare.ts"
import type { Fake, FakeOptions } from "./fake.ts"

type TargetInput = NonNullable<ConfigInput["targets"]>[string]

/** A type of target as a team configures it, and the vendor that its calls end at. */
export interface Subject {
  readonly target: Omit<TargetInput, "namespaces">
  readonly secrets: Readonly<Record<string, string>>
  readonly fake: (options: FakeOptions) => Fake
}

const ZONE = "023e105f4ecef8ad9ca31a8372d0c353"
const SECRET = "a-secret-that-no-output-may-hold"

/** Every type of target that has a vendor with a cache. */
export const SUBJECTS: Readonly<Record<string, Subject>> = {
  cloudflare: {
    target: { type: "cloudflare", zone: ZONE, token: { secret: "TOKEN" }, plan: "pro" } as Subject["target"],
    secrets: { TOKEN: SECRET },
    fake: (options) => new FakeCloudflare({ ...options, zones: [ZONE], token: SECRET, plan: "pro" }),
  },
}
