import type { Socket } from "node:net"
import type { Milliseconds } from "../../protocol/time.ts"

/** How a link carries bytes, in each direction. */
export interface Weather {
  readonly delay?: Milliseconds
  /** More or less delay, up to so much. */
  readonly jitter?: Milliseconds
  /** The share of packets that are sent a second time, which takes TCP `RETRANSMISSION`, and holds up what follows. */
  readonly loss?: number
  readonly bytesPerSecond?: number
}

/** The least that Linux waits for an acknowledgement before it sends once more. */
const RETRANSMISSION: Milliseconds = 200

/** One direction of a connection: bytes arrive in order, later, or not before they are let go. */
export interface Pipe {
  write(bytes: Buffer): void
  /** What was written and has not gone on. */
  readonly held: Buffer
  /** To be called when the weather has changed for the better. */
  pump(): void
  end(): void
}

export interface PipeState {
  readonly isStalled: boolean
  readonly weather: Weather
}

export function pipeTo(target: Socket, state: () => PipeState): Pipe {
  const queue: { readonly bytes: Buffer; readonly due: number }[] = []
  let timer: NodeJS.Timeout | undefined
  let lastDue = 0

  function dueOf(bytes: Buffer): number {
    const { delay = 0, jitter = 0, loss = 0, bytesPerSecond } = state().weather
    const length = delay + jitter * (2 * Math.random() - 1) + (Math.random() < loss ? RETRANSMISSION : 0)
    const sent = bytesPerSecond === undefined ? 0 : (1_000 * bytes.length) / bytesPerSecond
    const now = performance.now()
    lastDue = length + sent === 0 && lastDue <= now ? 0 : Math.max(lastDue, now + Math.max(0, length)) + sent
    return lastDue
  }

  function pump(): void {
    clearTimeout(timer)
    timer = undefined
    for (let first = queue[0]; first !== undefined && !state().isStalled; first = queue[0]) {
      const wait = first.due - performance.now()
      if (wait > 0) {
        timer = setTimeout(pump, Math.ceil(wait))
        return
      }
      queue.shift()
      if (!target.destroyed) target.write(first.bytes)
    }
  }

  return {
    write(bytes) {
      if (bytes.length === 0) return
      queue.push({ bytes, due: dueOf(bytes) })
      if (timer === undefined) pump()
    },
    get held() {
      return Buffer.concat(queue.map(({ bytes }) => bytes))
    },
    pump,
    end() {
      clearTimeout(timer)
      queue.length = 0
    },
  }
}
