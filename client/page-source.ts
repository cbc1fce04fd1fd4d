import { type Keyed, nameOf } from "./page-key.ts"

/** What a page is made from, and what is made from the same. */

/**
 * The request that a page is made from: without what its key does not hold, and without conditions, by which less than
 * the page would do. The very one, where it says nothing of these.
 *
 * @param mayBeLess conditions are left: what is made is most likely not kept
 */
export function sourceOf(request: Request, { plain: { url }, said }: Keyed, mayBeLess = false): Request {
  const conditions = mayBeLess ? [] : [...request.headers.keys()].filter((name) => name.startsWith("if-"))
  if (url === request.url && conditions.length === 0 && Object.keys(said).length === 0) return request
  const made = new Request(url, request)
  for (const name of conditions) made.headers.delete(name)
  for (const [name, value] of Object.entries(said))
    if (value === "") made.headers.delete(name)
    else made.headers.set(name, value)
  return made
}

/**
 * Where frameworks have the data of a page: React Router, SvelteKit, Nuxt and Next.js.
 *
 * @see https://github.com/remix-run/react-router/blob/main/docs/explanation/special-files.md for `/_root.data`
 */
const DATA = /(?:\/_(?:root)?)?\.data$|\/(?:__data|_payload)\.json$|(?:\.segments\/.*)?\.rsc$/

/** Next.js' data of a page of its Pages Router. */
const NEXT_DATA = /^\/_next\/data\/[^/]+(\/.*)\.json$/

/** The urls of the page that this is only the data of, which goes with it when it is invalidated; none for a page. */
export function pagesOf(url: string): readonly string[] {
  // Looked at before it is parsed, as nearly all are pages.
  if (!/\.(?:data|json|rsc)(?:\?|$)|[?&]_rsc=/.test(url)) return []
  const { origin, pathname, search: whole, searchParams } = new URL(url)
  const path = pathname
    .replace(DATA, "")
    .replace(NEXT_DATA, "$1")
    .replace(/^\/index$/, "")
  if (path === pathname && !searchParams.has("_rsc")) return []
  // Spelled as it was: by that the page is published.
  const pairs = whole.slice(1).split("&")
  const left = pairs.filter((pair) => pair && !["_rsc", "_routes"].includes(nameOf(pair))).join("&")
  const search = left && `?${left}`
  const bare = path.replace(/\/$/, "")
  return [...(bare ? [origin + bare + search] : []), `${origin}${bare}/${search}`]
}
