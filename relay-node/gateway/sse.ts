import type { RedisConnection } from "../redis/connection.ts"
import { toUpstreamError, withinDeadline } from "../redis/deadline.ts"

/** What is listened to. */
export type Subject =
  | { readonly verb: "subscribe" | "psubscribe"; readonly names: readonly string[] }
  | { readonly verb: "monitor" }

/** How much may wait for a client that does not read. Past it the stream ends, as Redis does with its own clients. */
const MAX_UNSENT_BYTES = 1024 * 1024

/**
 * Streams what a connection hears as server-sent events, from Redis's confirmation on. The stream ends when the
 * connection is lost, which is how its client notices; cancelling it calls `onOver`. `onOver` is called once, whichever
 * side ended it.
 *
 * @throws {ErrorReply} when Redis refuses, {@link UpstreamError} when it does not answer. Then it is over, too.
 */
export async function streamEvents(
  connection: RedisConnection,
  subject: Subject,
  onOver: () => void,
): Promise<ReadableStream<Uint8Array>> {
  const { promise: started, resolve } = Promise.withResolvers<ReadableStreamDefaultController<Uint8Array>>()
  let isOver = false
  const over = (): boolean => {
    if (isOver) return false
    isOver = true
    onOver()
    return true
  }
  const stream = new ReadableStream<Uint8Array>(
    { start: resolve, cancel: () => void over() },
    new ByteLengthQueuingStrategy({ highWaterMark: MAX_UNSENT_BYTES }),
  )
  const controller = await started
  const end = () => {
    if (over()) controller.close()
  }
  const send = (text: string) => {
    if (isOver) return
    controller.enqueue(Buffer.from(eventOf(text)))
    if ((controller.desiredSize ?? 0) <= 0) end()
  }
  connection.on("error", end)
  connection.on("end", end)
  try {
    await withinDeadline(
      subject.verb === "monitor" ? monitor(connection, send) : subscribe(connection, subject, send),
    )
  } catch (error) {
    over()
    throw toUpstreamError(error)
  }
  return stream
}

async function subscribe(
  connection: RedisConnection,
  { verb, names }: Extract<Subject, { names: readonly string[] }>,
  send: (text: string) => void,
): Promise<void> {
  for (const [index, name] of names.entries()) {
    const confirm = once(() => send(`${verb},${name},${index + 1}`))
    const listener = (message: Buffer, channel: Buffer) => {
      confirm()
      const heard = `${channel.toString()},${message.toString()}`
      send(verb === "subscribe" ? `message,${heard}` : `pmessage,${name},${heard}`)
    }
    if (verb === "subscribe") await connection.subscribe(name, listener, true)
    else await connection.pSubscribe(name, listener, true)
    confirm()
  }
}

async function monitor(connection: RedisConnection, send: (text: string) => void): Promise<void> {
  const confirm = once(() => send('"OK"'))
  await connection.monitor((line) => {
    confirm()
    send(line)
  })
  confirm()
}

/** What is heard may be read from the socket together with the confirmation, before the promise of that is settled. */
function once(say: () => void): () => void {
  let isSaid = false
  return () => {
    if (!isSaid) say()
    isSaid = true
  }
}

/** A line break would end the event, or begin another: what has some is sent as several `data` lines of one event. */
const eventOf = (text: string): string => `data: ${text.replace(/\r\n|\r|\n/g, "\ndata: ")}\n\n`
