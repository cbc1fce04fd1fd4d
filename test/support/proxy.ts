import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { type Conversation, conversation, type Manners, type MessageFault } from "./conversation.ts"
import { type Pipe, pipeTo, type Weather } from "./pipe.ts"

/** A link to Redis that can be harmed in the ways that networks and servers do it. */
export interface Proxy extends AsyncDisposable {
  readonly url: string
  readonly port: number
  /** Connections that are open on our side, half or whole. */
  readonly open: number
  /**
   * From now on messages of Pub/Sub get lost on every connection, old and new, while all else passes: a subscription
   * that looks well and is deaf.
   */
  muffle(on: boolean): void
  /** As `muffle`, in other ways. */
  messages(fault: MessageFault): void
  /** Drops what lies behind every connection of now; their clients are not told, and nobody hears them any more. */
  freeze(): void
  /** Takes no new connections, and ends those of now. */
  cut(on: boolean): void
  /** Ends every connection of now in order, by a FIN. */
  close(): void
  /** Ends every connection of now by an RST, and drops what was under way. */
  reset(): void
  /** Bytes wait, both ways and on new connections too; when this ends they are let go. */
  stall(on: boolean): void
  /** What clients sent and is still on its way. */
  readonly held: Buffer
  /** Delay, jitter, loss and width of the link from now on, each way. */
  weather(weather: Weather): void
  /**
   * Answers commands by an error instead of passing them on: `LOADING …`. To all of them, or to those whose names
   * (in capitals) `refuses` says yes to.
   */
  refuse(error: string | undefined, refuses?: (command: string) => boolean): void
  /** What upstream answers from now on gets lost, while what it is told arrives. */
  swallow(on: boolean): void
  /** Bytes that got lost so. */
  readonly swallowed: number
  /** Where new connections lead from now on. Those of now stay; see `reset`. */
  lead(url: string): void
  /** Where new connections that begin by subscribing lead, if elsewhere than the others. */
  leadSubscribers(url: string | undefined): void
}

export interface ProxyOptions {
  /** Anything but RESP2 commands and their replies: replication, HTTP. Nothing of it is looked into. */
  readonly isRaw?: boolean
}

/** One connection: what the client holds, what lies behind it, and the bytes between. */
interface Pair {
  upstream: Socket | undefined
  isFrozen: boolean
  up: Pipe | undefined
  readonly down: Pipe
}

const ALL = (): boolean => true
const SUBSCRIBE = /^\*\d+\r\n\$\d+\r\np?subscribe\r\n/i
const AS_IT_IS: Conversation = { commands: (chunk) => chunk, replies: (chunk) => chunk }

/** A proxy in front of a Redis, or of another server, on this machine. */
export async function startProxy(upstreamUrl: string, { isRaw = false }: ProxyOptions = {}): Promise<Proxy> {
  const pairs = new Map<Socket, Pair>()
  let target = upstreamUrl
  let subscribersTarget: string | undefined
  let manners: Manners = { messages: "pass", error: undefined, refuses: ALL }
  let state = { isStalled: false, weather: {} as Weather }
  let isCut = false
  let isSwallowing = false
  let swallowed = 0

  // Without delay: else small answers wait for one another, as they do not without a proxy.
  const server = createServer({ noDelay: true }, (client) => {
    client.on("error", () => client.destroy())
    if (isCut) {
      client.destroy()
      return
    }
    const down = pipeTo(client, () => state)
    const pair: Pair = { upstream: undefined, isFrozen: false, up: undefined, down }
    pairs.set(client, pair)
    const talk = isRaw
      ? AS_IT_IS
      : conversation(
          () => manners,
          (bytes) => down.write(bytes),
        )
    const open = (url: string): Pipe => {
      const upstream = connect({ port: Number(new URL(url).port), host: "127.0.0.1", noDelay: true })
      pair.upstream = upstream
      upstream.on("data", (chunk: Buffer) => {
        if (isSwallowing) swallowed += chunk.length
        else down.write(talk.replies(chunk))
      })
      upstream.on("error", () => upstream.destroy())
      upstream.on("close", () => void (pair.isFrozen || client.destroy()))
      return (pair.up = pipeTo(upstream, () => state))
    }
    // Who it is shows by its first words only.
    if (subscribersTarget === undefined) open(target)
    client.on("data", (chunk: Buffer) => {
      if (pair.isFrozen) return
      const isSubscriber = subscribersTarget !== undefined && SUBSCRIBE.test(chunk.toString("latin1"))
      const up = pair.up ?? open(isSubscriber ? (subscribersTarget ?? target) : target)
      up.write(talk.commands(chunk))
    })
    client.on("close", () => {
      pairs.delete(client)
      down.end()
      pair.up?.end()
      pair.upstream?.destroy()
    })
  })
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening))
  const { port } = server.address() as AddressInfo
  const end = () => {
    for (const client of pairs.keys()) client.destroy()
  }
  const pump = () => {
    for (const { up, down } of pairs.values()) {
      up?.pump()
      down.pump()
    }
  }
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    get open() {
      return pairs.size
    },
    muffle(on) {
      manners = { ...manners, messages: on ? "drop" : "pass" }
    },
    messages(fault) {
      manners = { ...manners, messages: fault }
    },
    freeze() {
      for (const pair of pairs.values()) {
        // Before its end is heard of: it must not end the client.
        pair.isFrozen = true
        pair.upstream?.destroy()
      }
    },
    cut(on) {
      isCut = on
      if (on) end()
    },
    close: end,
    reset() {
      for (const client of pairs.keys()) client.resetAndDestroy()
    },
    stall(on) {
      state = { ...state, isStalled: on }
      pump()
    },
    get held() {
      return Buffer.concat([...pairs.values()].flatMap(({ up }) => up?.held ?? []))
    },
    weather(weather) {
      state = { ...state, weather }
      pump()
    },
    refuse(error, refuses = ALL) {
      manners = { ...manners, error, refuses }
    },
    swallow(on) {
      isSwallowing = on
    },
    get swallowed() {
      return swallowed
    },
    lead(url) {
      target = url
    },
    leadSubscribers(url) {
      subscribersTarget = url
    },
    async [Symbol.asyncDispose]() {
      end()
      await new Promise((closed) => server.close(closed))
    },
  }
}
