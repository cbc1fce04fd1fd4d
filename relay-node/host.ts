/** Whether an address to listen on, or a name in a `Host` header, can only be reached from this machine. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host === "[::1]" || /^127(?:\.\d{1,3}){3}$/.test(host)
}

/**
 * Whether to answer a request that calls us by this `Host` header. On loopback a foreign name means a web page that had
 * its own name resolve to 127.0.0.1, so only names of this machine are good, whatever the port: it may be forwarded.
 * Elsewhere every name is, unless a list was given.
 */
export function isHostAllowed(
  header: string | undefined,
  { host, allowedHosts }: { readonly host: string; readonly allowedHosts: readonly string[] | undefined },
): boolean {
  if (allowedHosts === undefined && !isLoopback(host)) return true
  const called = header?.toLowerCase() ?? ""
  const name = called.replace(/:\d*$/, "")
  if (isLoopback(name) || name.replace(/^\[|\]$/g, "") === host.toLowerCase()) return true
  return (allowedHosts ?? []).some((allowed) => [name, called].includes(allowed.toLowerCase()))
}
