import { type Milliseconds, SECOND } from "../../protocol/time.ts"
import type { VendorHeaders } from "./target.ts"

/** What `X-RateLimit-Remaining` and `X-RateLimit-Reset` say, where a vendor has them. */
export interface RateHeaders {
  /** Calls that are left until the limit is reset. */
  readonly remaining?: number
  /** How long until then, from now. */
  readonly resetAfter?: Milliseconds
}

/** Reads them, the reset as seconds since 1970; what makes no sense is left out. */
export function rateHeaders(headers: VendorHeaders, now: Milliseconds): RateHeaders {
  const remaining = wholeNumber(headers.get("x-ratelimit-remaining"))
  const reset = wholeNumber(headers.get("x-ratelimit-reset"))
  return {
    ...(remaining === undefined ? {} : { remaining }),
    ...(reset === undefined ? {} : { resetAfter: Math.max(0, reset * SECOND - now) }),
  }
}

function wholeNumber(text: string | null): number | undefined {
  return text !== null && /^\d{1,12}$/.test(text) ? Number(text) : undefined
}
