import { NETWORK } from "./network.ts"
import { NODES } from "./nodes.ts"
import { RELAYS } from "./relays.ts"
import type { Scenario } from "./scenario.ts"
import { STORE } from "./store.ts"
import { SUBSCRIPTION } from "./subscription.ts"
import { VENDORS } from "./vendors.ts"

/** All faults that are made, in the order of the table. */
export const SCENARIOS: readonly Scenario[] = [
  ...SUBSCRIPTION,
  ...STORE,
  ...RELAYS,
  ...VENDORS,
  ...NODES,
  ...NETWORK,
]
