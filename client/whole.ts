/** Bodies that are kept only once they are known to be whole. */

/** Longer bodies are stored while they come, and deleted where their end never does. Ours. */
const MAX_HELD = 8 * 2 ** 20

/** As much of a page's end as the beginning of a nonce may be in. */
const TAIL = 16

/** The value of a nonce in HTML: it is one visitor's own, and in a kept page everybody's, so that it protects nobody. */
const NONCE = /\snonce=["']?[^\s"'>]/i

/** A body did not come to its end, or not to the end that was announced. */
export class CutShort extends Error {
  override readonly name = "CutShort"
}

/** A page holds what is one visitor's own. */
export class OneVisitorsOwn extends Error {
  override readonly name = "OneVisitorsOwn"
}

export interface Expected {
  /** How many bytes it is said to have. */
  readonly length?: number | undefined
  /** Whether it may hold nonces. */
  readonly isHtml?: boolean
}

/** A body, as it may be stored. */
export interface Whole {
  readonly body: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>
  /** How it ended: whole, or cut short by this; undefined while it has not. */
  ending(): "whole" | Error | undefined
}

/**
 * Reads a body to its end before any of it is stored: a runtime's cache may take the half of one that broke off for the
 * whole. One that is too long to be held is handed on as it comes; `ending` then tells, when it was stored.
 *
 * @throws {CutShort} when it did not come to its end
 * @throws {OneVisitorsOwn} when there is a nonce in it
 */
export async function readWhole(
  stream: ReadableStream<Uint8Array>,
  { length, isHtml = false }: Expected,
): Promise<Whole> {
  const reader = stream.getReader()
  const latin = new TextDecoder("latin1")
  let held: Uint8Array[] = []
  let size = 0
  let tail = ""

  async function next(): Promise<Uint8Array | undefined> {
    const { done, value } = await reader.read().catch((cause: unknown) => {
      throw new CutShort("the body broke off", { cause })
    })
    if (done) {
      if (length !== undefined && size !== length)
        throw new CutShort(`the body has ${size} bytes of ${length}`)
      return undefined
    }
    // Not by its class: bytes may be of another realm.
    if (Object.prototype.toString.call(value) !== "[object Uint8Array]")
      throw new CutShort("the body holds something else than bytes")
    size += value.length
    if (isHtml) {
      const text = tail + latin.decode(value)
      if (NONCE.test(text)) throw new OneVisitorsOwn("the page has a nonce in it")
      tail = text.slice(-TAIL)
    }
    return value
  }

  /** What is left unread would keep its memory, and what it comes from. */
  function giveUp(cause: unknown): never {
    void reader.cancel(cause).catch(() => undefined)
    throw cause
  }

  while (size <= MAX_HELD) {
    const chunk = await next().catch(giveUp)
    if (!chunk) return { body: joined(held, size), ending: () => "whole" }
    held.push(chunk)
  }
  let ending: "whole" | Error | undefined
  const rest = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const [first, ...others] = held
        held = others
        const chunk = first ?? (await next())
        if (chunk) return controller.enqueue(chunk)
        ending = "whole"
        controller.close()
      } catch (cause) {
        ending = cause as CutShort | OneVisitorsOwn
        controller.error(cause)
      }
    },
    cancel: (cause) => reader.cancel(cause),
  })
  return { body: rest, ending: () => ending }
}

function joined(chunks: readonly Uint8Array[], size: number): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(size)
  let at = 0
  for (const chunk of chunks) {
    whole.set(chunk, at)
    at += chunk.length
  }
  return whole
}
