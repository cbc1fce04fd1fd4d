import type { Resolved } from "../../protocol/config/config.ts"
import type { TargetConfig } from "../../protocol/config/schema.ts"
import type { CreateDriver, TargetDriver, TargetTraits } from "./target.ts"

/**
 * What a cache can do, and how it is asked. The two are parted since a Worker only plans: it imports the traits alone,
 * and a bundler leaves the rest of the file out, as long as this call is marked as pure.
 */
export const driverOf = <C extends Resolved<TargetConfig>>(
  traits: TargetTraits<C>,
  create: CreateDriver<C>,
): TargetDriver<C> => ({ ...traits, create })
