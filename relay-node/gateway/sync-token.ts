import type { RedisCommand } from "../redis/types.ts"
import { mayWrite } from "./commands.ts"

/**
 * Upstash's `upstash-sync-token`: a client sends the last one back to read its own writes from a replica. Here all
 * reads and writes go over one connection to one Redis, so that any value is up to date and what is sent is not looked
 * at; but clients rely on its presence and on its changing with every write.
 */
export interface SyncToken {
  current(): string
  /** To be called once for each request answered. */
  advance(commands: readonly RedisCommand[]): void
}

export function createSyncToken(): SyncToken {
  // A gateway that was started anew must not repeat the tokens of the one before.
  const start = Date.now().toString(36)
  let writes = 0
  return {
    current: () => `${start}.${writes}`,
    advance(commands) {
      if (commands.some(mayWrite)) writes++
    },
  }
}
