/** What of an address must not be shown: whoever takes one to a part of ours names it in logs and answers. */

/** A token of ours that was pasted into a path. */
const TOKEN = /\btm_[\w-]{20,}/

/** Whether an address carries a user, a password, a query, a fragment or a token. Parts need none of them. */
export const carriesSecret = (url: URL): boolean =>
  url.username + url.password + url.search + url.hash !== "" || TOKEN.test(url.pathname)

/** Whether an address carries a user or a password, which `fetch` refuses and messages would show. */
export const carriesUser = (url: URL): boolean => url.username + url.password !== ""

/**
 * What is wrong with the address of a part, in words that follow its variable's or option's name and hold nothing of
 * its value; undefined where nothing is.
 */
export function partAddressProblem(text: string): string | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^https?:$/.test(url.protocol)) return "must be an http or https URL"
  return carriesSecret(url)
    ? "must be an http or https URL without user, query and fragment, and without a token in its path"
    : undefined
}
