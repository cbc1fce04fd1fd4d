/** Where a reply or a command of RESP2 that begins at `from` ends; undefined while it is not all there. */
function replyEnd(bytes: Buffer, from: number): number | undefined {
  const line = bytes.indexOf("\r\n", from)
  if (line < 0) return undefined
  const next = line + 2
  const count = Number(bytes.subarray(from + 1, line).toString("latin1"))
  switch (String.fromCharCode(bytes[from] ?? 0)) {
    case "$":
      return count < 0 ? next : next + count + 2 <= bytes.length ? next + count + 2 : undefined
    case "*": {
      let end: number | undefined = next
      for (let item = 0; item < count && end !== undefined; item += 1) end = replyEnd(bytes, end)
      return end
    }
    default:
      return next
  }
}

/** Cuts a stream into whole replies or commands; a part of one waits for its rest. */
export function splitter(): (chunk: Buffer) => Buffer[] {
  let waiting: Buffer = Buffer.alloc(0)
  return (chunk) => {
    waiting = waiting.length === 0 ? chunk : Buffer.concat([waiting, chunk])
    const whole: Buffer[] = []
    let from = 0
    for (let end = replyEnd(waiting, from); end !== undefined; end = replyEnd(waiting, from)) {
      whole.push(waiting.subarray(from, end))
      from = end
    }
    waiting = waiting.subarray(from)
    return whole
  }
}

const HEADS = { message: /^\*3\r\n\$7\r\nmessage\r\n/, pmessage: /^\*4\r\n\$8\r\npmessage\r\n/ }

/** Which kind of Pub/Sub message a reply is; undefined where it answers a command. */
export function messageKind(reply: Buffer): keyof typeof HEADS | undefined {
  const head = reply.subarray(0, 20).toString("latin1")
  if (HEADS.pmessage.test(head)) return "pmessage"
  return HEADS.message.test(head) ? "message" : undefined
}

/** A command's name, in capitals. */
export const commandName = (command: Buffer): string =>
  (/^\*\d+\r\n\$\d+\r\n(\w+)/.exec(command.subarray(0, 64).toString("latin1"))?.[1] ?? "").toUpperCase()

/** How many words a command has, its name among them. */
export const commandLength = (command: Buffer): number =>
  Number(/^\*(\d+)/.exec(command.subarray(0, 16).toString("latin1"))?.[1] ?? 1)
