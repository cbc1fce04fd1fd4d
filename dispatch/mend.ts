import type { TargetConfig } from "../protocol/config/schema.ts"
import { isSecret } from "../protocol/config/secret.ts"

/**
 * Where people look when a target does not take us: its options, and of a secret the name under which the environment
 * holds it.
 *
 * @param options those that a driver named, or all that hold a secret
 */
export function whatToMend(
  name: string,
  target: TargetConfig,
  options: readonly string[] | "secrets",
): string {
  const members: Readonly<Record<string, unknown>> = target
  const secrets = Object.keys(members).filter((key) => isSecret(members[key]))
  const named = options === "secrets" ? secrets : options
  const told = named.map((option) => {
    const value = members[option]
    return isSecret(value) ? `${option} (the secret ${value.secret})` : option
  })
  return told.length === 0 ? `look at targets.${name}` : `look at ${told.join(", ")} of targets.${name}`
}
