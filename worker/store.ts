import { Redis } from "@upstash/redis/cloudflare"
import {
  asList,
  classifyReplyError,
  type Command,
  type Reply,
  type Script,
  type Store,
  StoreError,
  UPSTASH_FLAGS,
} from "../protocol/store.ts"
import type { Milliseconds } from "../protocol/time.ts"

export interface UpstashOptions {
  readonly url: string
  readonly token: string
  /** Of one attempt; there are two. Default 2,200: a publish answers 503 within 5 s when nothing does. */
  readonly timeout?: Milliseconds
}

/** The SDK's own transport, without what it does to replies: an epoch must stay the digits it is. */
class RawRedis extends Redis {
  async send(path: string[], body: unknown): Promise<unknown> {
    return this.client.request({ path, body })
  }
}

/** A store behind Upstash's REST protocol, one subrequest a call. */
export function upstashStore({ url, token, timeout = 2_200 }: UpstashOptions): Store {
  const redis = new RawRedis({
    url,
    token,
    // Digits would become numbers, "null" a null: replies are read by whoever asked.
    automaticDeserialization: false,
    responseEncoding: false,
    // Would wait for others, and put a publish and somebody's look-up into one request that fails as one.
    enableAutoPipelining: false,
    // Its own retries repeat an EVAL unseen; ours is below, and only where that is safe.
    retry: { retries: 0 },
    enableTelemetry: false,
  })
  const isUpstash = new URL(url).hostname.endsWith(".upstash.io")

  /**
   * Waits for an answer as long as `timeout`. The request itself is not aborted, as a signal costs a tenth of a publish:
   * what is left unanswered ends with the Worker's own answer.
   */
  const attempt = async (path: string[], body: unknown): Promise<unknown> => {
    const over = Promise.withResolvers<never>()
    const timer = setTimeout(over.reject, timeout)
    try {
      return await Promise.race([redis.send(path, body), over.promise])
    } finally {
      clearTimeout(timer)
    }
  }

  const send = async (path: string[], body: unknown): Promise<unknown> => {
    try {
      return await attempt(path, body)
    } catch (error) {
      if (toStoreError(error).failure !== "unreachable" || isAnswer(error)) throw toStoreError(error)
      // Nothing came back. All that we send may be repeated: reads change nothing, publishes carry a key.
      return attempt(path, body).catch((again: unknown) => {
        throw toStoreError(again)
      })
    }
  }

  const evaluate = async (
    how: "EVALSHA" | "EVAL",
    script: string,
    keys: readonly string[],
    args: readonly string[],
  ) => resultOf(await send([], [how, script, String(keys.length), ...keys, ...args]))

  return {
    async script(script: Script, keys, args) {
      try {
        return await evaluate("EVALSHA", isUpstash ? script.upstashSha1 : script.sha1, keys, args)
      } catch (error) {
        if (!(error instanceof StoreError) || !error.message.includes("NOSCRIPT")) throw error
        return evaluate("EVAL", isUpstash ? UPSTASH_FLAGS + script.text : script.text, keys, args)
      }
    },
    async pipeline(commands: readonly Command[]) {
      return asList((await send(["pipeline"], commands)) as Reply).map((item) => resultOf(item))
    },
  }
}

function resultOf(answer: unknown): Reply {
  const { result, error } = (answer ?? {}) as { result?: Reply; error?: string }
  if (error !== undefined) throw new StoreError(classifyReplyError(error), error)
  if (result === undefined) throw new StoreError("unreachable", "the store's answer was not understood")
  return result
}

/** Whether the other side said something, rather than nothing at all. */
const isAnswer = (error: unknown): boolean => error instanceof Error && error.name.startsWith("Upstash")

function toStoreError(error: unknown): StoreError {
  if (error instanceof StoreError) return error
  // The SDK appends the command to its message: only Redis's own words are kept, never a tag or a key.
  const text = error instanceof Error ? error.message : ""
  const said = /^(?:-?([A-Z]+) [^,]*)/.exec(text)?.[0] ?? ""
  const failure = isAnswer(error) && said !== "" ? classifyReplyError(said) : "unreachable"
  return new StoreError(failure, said === "" ? "the store did not answer" : said, { cause: error })
}
