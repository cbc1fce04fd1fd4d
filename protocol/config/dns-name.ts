/** An endpoint that is a name with as many nodes as it has addresses. */
export interface DnsName {
  /** Beginning with `_` it has SRV records, which name ports themselves. */
  readonly name: string
  /** Default 80. */
  readonly port: number
  /** `host[:port]` of the name server; undefined: the system's. */
  readonly server: string | undefined
}

const FORM = /^dns:\/\/([^/?#@]+)(?:\/([^/?#@]+))?$/
const NAME = /^([A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?::(\d{1,5}))?$/
const ADDRESS = /^\d+(?:\.\d+)*$/

/**
 * `dns://name[:port]`, or with a name server of its own `dns://server[:port]/name[:port]`. Undefined for what is none:
 * an address is no name.
 *
 * @see https://www.rfc-editor.org/rfc/rfc4501
 */
export function parseDns(endpoint: string): DnsName | undefined {
  const [, first = "", second] = FORM.exec(endpoint) ?? []
  const [, name = "", port = "80"] = NAME.exec(second ?? first) ?? []
  const isPort = Number(port) > 0 && Number(port) <= 65_535
  if (name === "" || ADDRESS.test(name) || !isPort) return undefined
  return { name, port: Number(port), server: second === undefined ? undefined : first }
}
