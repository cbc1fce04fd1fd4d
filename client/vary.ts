import type { Normaliser } from "./page-key.ts"

/** `tidemark/vary`: what of a request's headers makes another page, for `vary` of the plugs. */

export type { Normaliser } from "./page-key.ts"

/**
 * The language of those that are offered which a visitor wants most, by `Accept-Language`; the first one where they want
 * none of them. A language stands for its regions too: `de` is what somebody gets who asks for `de-AT`.
 *
 * @example
 *
 *     epochCache({ …, vary: { "accept-language": language(["en", "de"]) } })
 *
 * @param offered as in BCP 47, such as `en` or `pt-BR`; whatever their case
 * @throws {RangeError} when none is offered
 * @see https://www.rfc-editor.org/rfc/rfc4647#section-3.4
 */
export function language(offered: readonly string[]): Normaliser {
  const [fallback] = offered
  if (fallback === undefined) throw new RangeError("language must be offered one language at least")
  const byName = new Map(offered.map((name) => [name.toLowerCase(), name]))
  return (value) => {
    const wanted = (value ?? "")
      .toLowerCase()
      .split(",")
      .map((range) => {
        const [name = "", ...parameters] = range.split(";").map((part) => part.trim())
        const quality = Number(parameters.find((part) => part.startsWith("q="))?.slice(2) ?? 1)
        return { name, quality }
      })
      .filter(({ quality }) => quality > 0)
      .toSorted((one, other) => other.quality - one.quality)
    for (const { name } of wanted) {
      // From `de-at-1996` to `de`: the longest that is offered.
      for (let tag = name; tag !== ""; tag = tag.slice(0, Math.max(0, tag.lastIndexOf("-")))) {
        const found = byName.get(tag)
        if (found !== undefined) return found
      }
    }
    return fallback
  }
}

/**
 * The one cookie that makes another page; the page is made from a request that has no other. Without it, or with a value
 * that is not among those that count, from one without cookies.
 *
 * @example
 *
 *     epochCache({ …, vary: { cookie: cookie("theme", ["dark", "light"]) } })
 *
 * @param values those that count. Default: any, so that visitors may fill the cache with as many pages as they like
 */
export function cookie(name: string, values?: readonly string[]): Normaliser {
  return (header) => {
    for (const pair of (header ?? "").split(";")) {
      const at = pair.indexOf("=")
      if (at < 0 || pair.slice(0, at).trim() !== name) continue
      const value = pair.slice(at + 1).trim()
      return values && !values.includes(value) ? "" : `${name}=${value}`
    }
    return ""
  }
}
