import { commandLength, commandName, messageKind, splitter } from "./resp.ts"

/**
 * What becomes of Pub/Sub's messages, where all else passes.
 *
 * - `drop`          none arrives: a subscription that looks well and is deaf
 * - `dropPattern`   those of pattern subscriptions do not arrive
 * - `repeat`        each arrives twice
 * - `reorder`       each arrives after its successor
 */
export type MessageFault = "pass" | "drop" | "dropPattern" | "repeat" | "reorder"

/** How the conversations of a proxy are harmed; read anew for each command and each reply. */
export interface Manners {
  readonly messages: MessageFault
  /** Answered, as an error, to the commands that `refuses` names, which then do not reach Redis. */
  readonly error: string | undefined
  readonly refuses: (command: string) => boolean
}

/** One connection's commands and replies in RESP2, kept in step where some commands are answered by the proxy. */
export interface Conversation {
  /** What of it goes on to Redis. */
  commands(chunk: Buffer): Buffer
  /** What of it goes on to the client. */
  replies(chunk: Buffer): Buffer
}

const SUBSCRIBING = /^P?(UN)?SUBSCRIBE$/

/** @param answer takes what the proxy itself answers, where nothing has to come before it */
export function conversation(manners: () => Manners, answer: (bytes: Buffer) => void): Conversation {
  const splitCommands = splitter()
  const splitReplies = splitter()
  /** For each answer that the client still waits for: ours, or undefined where it is Redis's to give. */
  const turns: (Buffer | undefined)[] = []
  let overtaken: Buffer | undefined
  const ownTurns = (): Buffer[] => {
    const own: Buffer[] = []
    while (turns.length > 0 && turns[0] !== undefined) own.push(turns.shift() as Buffer)
    return own
  }

  function treat(message: Buffer, kind: "message" | "pmessage"): Buffer[] {
    const { messages } = manners()
    const before = overtaken === undefined ? [] : [overtaken]
    overtaken = undefined
    if (messages === "drop" || (messages === "dropPattern" && kind === "pmessage")) return before
    if (messages === "repeat") return [...before, message, message]
    if (messages !== "reorder") return [...before, message]
    if (before.length > 0) return [message, ...before]
    overtaken = message
    return []
  }

  return {
    commands(chunk) {
      const { error, refuses } = manners()
      const kept: Buffer[] = []
      for (const command of splitCommands(chunk)) {
        const name = commandName(command)
        if (error !== undefined && refuses(name)) turns.push(Buffer.from(`-${error}\r\n`))
        else {
          kept.push(command)
          const answers = SUBSCRIBING.test(name) ? Math.max(1, commandLength(command) - 1) : 1
          for (let nth = 0; nth < answers; nth += 1) turns.push(undefined)
        }
      }
      for (const own of ownTurns()) answer(own)
      return Buffer.concat(kept)
    },
    replies(chunk) {
      const kept: Buffer[] = []
      for (const reply of splitReplies(chunk)) {
        const kind = messageKind(reply)
        if (kind) kept.push(...treat(reply, kind))
        else {
          turns.shift()
          kept.push(reply, ...ownTurns())
        }
      }
      return Buffer.concat(kept)
    },
  }
}
