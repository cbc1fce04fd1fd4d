/**
 * What `304 Not Modified` says of a page, where a visitor has this very one already: by `If-None-Match`, and where that
 * is missing by `If-Modified-Since`. Undefined where they have not.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-13.2.2
 */
export function notModified(
  request: Request,
  headers: Readonly<Record<string, string>>,
): Record<string, string> | undefined {
  if (!hasAlready(request, headers)) return undefined
  // All but what describes a body.
  const left = Object.entries(headers).filter(
    ([name]) => !/^content-(?:length|encoding|type|language|range)$/.test(name),
  )
  return Object.fromEntries(left)
}

function hasAlready(request: Request, headers: Readonly<Record<string, string>>): boolean {
  const { etag, "last-modified": modified } = headers
  const known = request.headers.get("if-none-match")
  if (known !== null) {
    if (known.trim() === "*") return true
    return etag !== undefined && tagsOf(known).includes(etag.replace(/^W\//, ""))
  }
  const since = Date.parse(request.headers.get("if-modified-since") ?? "")
  return modified !== undefined && Date.parse(modified) <= since
}

/** The opaque tags of a list, weak or not: by either a page is the same. */
const tagsOf = (list: string): readonly string[] => list.match(/"[^"]*"|[^\s,"]+/g) ?? []
