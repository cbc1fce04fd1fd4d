/** Without what may be a secret in it: a user and password, or a query, of a url; a token of ours. */
export const withoutSecrets = (text: string): string =>
  text
    .replace(/\/\/[^\s/]*@/g, "//")
    .replace(/(:\/\/[^\s?#]*)[?#]\S*/g, "$1")
    .replace(/\btm_[\w-]+/g, "tm_…")

/** What an error says, without secrets; and where that is only that something failed, what its cause says. */
export function wordsOf(error: unknown): string {
  if (!(error instanceof Error)) return withoutSecrets(String(error))
  const { cause } = error as { readonly cause?: { readonly code?: unknown; readonly message?: unknown } }
  const why = cause?.code ?? cause?.message
  return withoutSecrets(typeof why === "string" ? `${error.message}: ${why}` : error.message)
}
