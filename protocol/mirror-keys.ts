/** Where the epochs of a tenant stand in stores that mirror them, one value a tenant, as a look-up answers them. */

/** In Workers KV. */
export const kvKey = (tenant: string): string => `tidemark/${tenant}`

/** In a Vercel Edge Config, whose keys hold letters, digits, `_` and `-`. */
export const edgeConfigKey = (tenant: string): string => `tidemark_${tenant}`
