/**
 * Names of secrets. This file imports nothing: it is all that a configuration needs of us at run time, also where no
 * package is installed, as in the image of the relay.
 */

/** The *name* of a secret: plain data, so that a configuration can be printed, sent and kept without its secrets. */
export interface Secret {
  readonly secret: string
}

export const SECRET_NAME = /^[A-Z][A-Z0-9_]{0,127}$/

/**
 * Refers to a secret by the name under which the Worker's bindings, or the process environment, hold it.
 *
 * @throws {TypeError} when the name is not upper-case letters, digits and `_`, starting with a letter
 */
export function secret(name: string): Secret {
  if (!SECRET_NAME.test(name))
    throw new TypeError(`secret("…"): a name is A-Z, 0-9 and _, starting with a letter`)
  return { secret: name }
}

export const isSecret = (value: unknown): value is Secret =>
  value !== null &&
  typeof value === "object" &&
  typeof (value as { secret?: unknown }).secret === "string" &&
  Object.keys(value).length === 1
