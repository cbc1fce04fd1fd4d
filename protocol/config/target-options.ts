import * as z from "zod/mini"
import "../schema.ts"
import { secretSchema } from "./secret.ts"

/**
 * What each type of target takes besides the keys that all share: one entry a vendor. The driver of the same name
 * stands in `dispatch/targets/`; the vendor's docs page explains each key.
 */

const isLoopback = (url: URL): boolean => /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname)

function parseUrl(text: string): URL | undefined {
  try {
    return new URL(text)
  } catch {
    return undefined
  }
}

/** https, or http on loopback: credentials go there. */
export const vendorUrl = z.string().check(
  z.refine(
    (text) => {
      const url = parseUrl(text)
      return url !== undefined && (url.protocol === "https:" || (url.protocol === "http:" && isLoopback(url)))
    },
    { error: "must be an https URL (http only on loopback)" },
  ),
)

const httpUrl = z.string().check(
  z.refine((text) => /^https?:$/.test(parseUrl(text)?.protocol ?? ""), {
    error: "must be an http or https URL",
  }),
)

export const TARGET_OPTIONS = {
  /** `endpoints`: every Varnish node by its own address; `"dev"` is the one that `tidemark dev` starts. */
  varnish: { endpoints: z.union([z.literal("dev"), z.array(httpUrl).check(z.minLength(1))]) },
  cloudflare: {
    zone: z.string().check(z.regex(/^[0-9a-f]{32}$/i, { error: "must be the 32 hex digits of a zone id" })),
    token: secretSchema,
    plan: z.enum(["free", "pro", "business", "enterprise"]),
  },
  http: { url: vendorUrl, secret: secretSchema },
} as const
