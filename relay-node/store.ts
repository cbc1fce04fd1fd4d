import { ErrorReply } from "redis"
import {
  classifyReplyError,
  type Command,
  type Reply,
  type Script,
  type Store,
  StoreError,
  UPSTASH_FLAGS,
} from "../protocol/store.ts"
import { parseRedisUrl } from "../protocol/redis-url.ts"
import type { RedisCommand } from "./redis/types.ts"
import type { Upstream } from "./redis/upstream.ts"

/**
 * Whether scripts need Upstash's first line: it is the one Redis that wants it, and the others refuse it.
 *
 * @throws {RedisUrlError}
 */
export function isUpstash(redisUrl: string): boolean {
  const { at } = parseRedisUrl(redisUrl)
  return "host" in at && at.host.endsWith(".upstash.io")
}

/**
 * A store over one connection of node-redis, shared by all of the relay.
 *
 * @param upstash whether the server is Upstash's, as `isUpstash` tells from its address. Default false.
 */
export function redisStore(upstream: Upstream, upstash = false): Store {
  const exchange = async (commands: readonly Command[]): Promise<readonly Reply[]> => {
    let replies: readonly unknown[]
    try {
      replies = await upstream.exchange(commands as readonly RedisCommand[], {})
    } catch (cause) {
      throw new StoreError("unreachable", upstream.trouble ?? "Redis did not answer", { cause })
    }
    for (const reply of replies) if (reply instanceof ErrorReply) throw replyError(reply)
    return replies as readonly Reply[]
  }
  const evaluate = async (
    how: "EVALSHA" | "EVAL",
    script: string,
    keys: readonly string[],
    args: readonly string[],
  ) => {
    const [reply] = await exchange([[how, script, String(keys.length), ...keys, ...args]])
    return reply ?? null
  }
  return {
    async script(script: Script, keys, args) {
      try {
        return await evaluate("EVALSHA", upstash ? script.upstashSha1 : script.sha1, keys, args)
      } catch (error) {
        if (!(error instanceof StoreError) || !error.message.startsWith("NOSCRIPT")) throw error
        return evaluate("EVAL", upstash ? UPSTASH_FLAGS + script.text : script.text, keys, args)
      }
    },
    pipeline: exchange,
  }
}

/** An error of Redis inside a nested reply counts too: an EXEC, or a script's list. */
function replyError(error: ErrorReply): StoreError {
  return new StoreError(classifyReplyError(error.message), error.message, { cause: error })
}
