/** The command by which a bare edge function publishes: the same script, named by its digest, and its least arguments. */
export function evalsha(sha1: string, namespace: string, tags: readonly string[]): string[] {
  const of = (rest: string) => `tm:{bare}:${rest}`
  const keys = [
    of("head"),
    of("log"),
    of("n:"),
    // A key of its own, remembered as ours is.
    of(`idem:auto.${crypto.randomUUID()}`),
    of("later"),
    of("later:items"),
    of("later:after"),
    of("namespaces"),
    of("tagged"),
    of(`n:${namespace}`),
    of(`tags:${namespace}`),
  ]
  const [fingerprint, remember, clock, maxEntries, pass, mostNamespaces, count] = [
    "-",
    "600",
    "",
    "1000000",
    "",
    "0",
    "1",
  ]
  const [mode, keepTags, maxTags, origin, passes] = ["invalidate", "2592000000000", "1000000", "", "0"]
  const item = [JSON.stringify({ namespace, tags }), "bare", "tags", mode, keepTags, maxTags, origin, passes]
  const args = [fingerprint, remember, clock, maxEntries, pass, mostNamespaces, count, ...item]
  return ["EVALSHA", sha1, String(keys.length), ...keys, ...args, String(tags.length), ...tags]
}
