import type { Config } from "../../protocol/config/schema.ts"
import { matchesAny } from "../../protocol/namespace.ts"

/** What can be typed now, of this very configuration: a publish, and a sample of each kind of webhook that it takes. */
export function devHints(config: Config, isDemo: boolean): string[] {
  const [source] = Object.keys(config.sources)
  return [
    `npx tidemark publish ${isDemo ? "blog --tag post-hello" : publishOf(config)} --wait`,
    ...(source === undefined ? [] : [`npx tidemark source test ${source} --wait`]),
  ]
}

/** A namespace that a target hears of, where there is one; and as little of it as the configuration lets us name. */
function publishOf({ namespaces, targets, sources }: Config): string {
  const names = Object.keys(namespaces).filter((name) => name !== "*")
  const isHeard = (namespace: string) =>
    Object.values(targets).some((target) => matchesAny(namespace, target.namespaces))
  const namespace = names.find(isHeard) ?? names[0] ?? "site"
  const { hosts = [], prefixes = [] } = namespaces[namespace] ?? {}
  const rules = Object.values(sources).flatMap((source) =>
    (source.rules ?? []).filter((rule) => (rule.namespace ?? source.namespace) === namespace),
  )
  // A tag without a placeholder is one that pages carry as it stands there.
  const tag = rules.flatMap(({ tags = [] }) => tags).find((one) => /^[\w.:/-]+$/.test(one))
  if (tag !== undefined) return `${namespace} --tag ${tag}`
  const url = prefixes[0] ?? (hosts[0] === undefined ? undefined : `https://${hosts[0]}/`)
  return url === undefined ? `${namespace} --tag hello` : `${namespace} --url ${url}`
}
