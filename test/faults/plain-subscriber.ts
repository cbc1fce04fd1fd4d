import { createClient } from "redis"

/**
 * What is usually meant by a production-grade subscriber: it pings with a deadline, comes back after a loss with
 * back-off and jitter, and subscribes again. It keeps no log, so what was said while it was away is gone.
 */
export interface PlainSubscriber {
  /** What it was told of. */
  readonly heard: ReadonlySet<string>
  close(): void
}

const CHANNELS = "plain:"
export const plainMessage = (tag: string): readonly string[] => ["PUBLISH", `${CHANNELS}tags`, tag]

export async function startPlainSubscriber(redisUrl: string): Promise<PlainSubscriber> {
  const heard = new Set<string>()
  const client = createClient({
    url: redisUrl,
    RESP: 2,
    // Nothing but what it is about.
    disableClientInfo: true,
    maintNotifications: "disabled",
    pingInterval: 1_000,
    socket: {
      socketTimeout: 3_000,
      reconnectStrategy: (retries) => Math.random() * Math.min(1_000, 50 * 2 ** retries),
    },
  })
  client.on("error", () => {})
  await client.connect()
  await client.pSubscribe(`${CHANNELS}*`, (tag) => heard.add(tag))
  return { heard, close: () => client.destroy() }
}
