import type { Milliseconds } from "../../protocol/time.ts"

/** The caches that are judged. */
export const CACHES = ["Worker cache", "Varnish"] as const
export type CacheName = (typeof CACHES)[number]

/** What the parts are set to. Far shorter than the defaults, so that a run of minutes meets every bound many times. */
export interface Settings {
  /** Of the epoch cache's reader: see `createTidemark`. */
  readonly ttl: Milliseconds
  readonly maxStale: Milliseconds
  /** For how long the epoch cache serves a stale page while it is revalidated. */
  readonly swr: Milliseconds
  /** The same at Varnish, where it is called grace. */
  readonly grace: Milliseconds
  /** How long the CMS of lagging pages goes on reading the old content to others, counted from its first webhook. */
  readonly lag: Milliseconds
  /** Of lagging pages. Above `lag`, or what they promise is nothing. */
  readonly settle: Milliseconds
  /** Of all pages. Above `hold` and `FETCH_MARGIN`, for the same reason. */
  readonly secondPass: Milliseconds
  /** How long the origin holds one answer at most. */
  readonly hold: Milliseconds
}

export const SETTINGS: Settings = {
  ttl: 300,
  maxStale: 6_000,
  swr: 3_000,
  grace: 3_000,
  lag: 2_000,
  settle: 3_000,
  secondPass: 4_000,
  hold: 2_000,
}

/** The public origin of the pages, as publishers name it. */
export const SITE_ORIGIN = "http://www.example.com"

/** Every fourth page belongs to a CMS whose reads lag behind its webhooks. */
export const lags = (page: number): boolean => page % 4 === 3

export const tagOf = (page: number): string => `page-${page}`
export const pathOf = (page: number): string => `/p/${page}`
