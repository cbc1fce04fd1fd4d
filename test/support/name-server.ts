import { createSocket } from "node:dgram"
import { isIPv4 } from "node:net"

/** What names lead to; each may be changed at any time. */
export interface Zone {
  /** Addresses by name, of both families. */
  addresses: Record<string, readonly string[]>
  /** SRV records by name. */
  services: Record<string, readonly { readonly name: string; readonly port: number }[]>
  /** Seconds for which an answer is good. */
  ttl: number
  /** Answers nothing at all. */
  isSilent: boolean
}

export interface NameServer extends AsyncDisposable {
  /** `127.0.0.1:port`, as a resolver is told it. */
  readonly address: string
  readonly zone: Zone
  /** Questions that came. */
  readonly asked: readonly { readonly name: string; readonly type: number }[]
}

const TYPE = { A: 1, AAAA: 28, SRV: 33 } as const
const NAME_ERROR = 3

/** A name server of one zone on loopback, over UDP: https://www.rfc-editor.org/rfc/rfc1035#section-4 */
export async function startNameServer(zone: Partial<Zone> = {}): Promise<NameServer> {
  const own: Zone = { addresses: {}, services: {}, ttl: 1, isSilent: false, ...zone }
  const asked: { name: string; type: number }[] = []
  const socket = createSocket("udp4")
  socket.on("message", (message, { port, address }) => {
    const question = readQuestion(message)
    asked.push({ name: question.name, type: question.type })
    if (!own.isSilent) socket.send(answerTo(message, question, own), port, address)
  })
  await new Promise<void>((done) => socket.bind(0, "127.0.0.1", done))
  return {
    address: `127.0.0.1:${socket.address().port}`,
    zone: own,
    asked,
    [Symbol.asyncDispose]: () => new Promise((done) => socket.close(() => done())),
  }
}

interface Question {
  readonly name: string
  readonly type: number
  /** Where it ends in the message. */
  readonly end: number
}

function readQuestion(message: Buffer): Question {
  const labels: string[] = []
  let at = 12
  for (let length = message[at] ?? 0; length > 0; length = message[at] ?? 0) {
    labels.push(message.toString("latin1", at + 1, at + 1 + length))
    at += 1 + length
  }
  return { name: labels.join(".").toLowerCase(), type: message.readUInt16BE(at + 1), end: at + 5 }
}

function answerTo(message: Buffer, { name, type, end }: Question, zone: Zone): Buffer {
  const isKnown = Object.hasOwn(zone.addresses, name) || Object.hasOwn(zone.services, name)
  const data = dataOf(name, type, zone)
  const head = Buffer.from(message.subarray(0, 12))
  head.writeUInt16BE(0x8400 | (isKnown ? 0 : NAME_ERROR), 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt16BE(data.length, 6)
  head.writeUInt32BE(0, 8)
  const records = data.map((one) => {
    const record = Buffer.alloc(12)
    record.writeUInt16BE(0xc00c, 0)
    record.writeUInt16BE(type, 2)
    record.writeUInt16BE(1, 4)
    record.writeUInt32BE(zone.ttl, 6)
    record.writeUInt16BE(one.length, 10)
    return Buffer.concat([record, one])
  })
  return Buffer.concat([head, message.subarray(12, end), ...records])
}

function dataOf(name: string, type: number, { addresses, services }: Zone): Buffer[] {
  const all = addresses[name] ?? []
  if (type === TYPE.A) return all.filter(isIPv4).map((one) => Buffer.from(one.split(".").map(Number)))
  if (type === TYPE.AAAA) return all.filter((one) => !isIPv4(one)).map(sixteen)
  if (type !== TYPE.SRV) return []
  return (services[name] ?? []).map(({ name: target, port }) => {
    const numbers = Buffer.alloc(6)
    numbers.writeUInt16BE(port, 4)
    const labels = target.split(".").map((one) => Buffer.from(`${String.fromCharCode(one.length)}${one}`))
    return Buffer.concat([numbers, ...labels, Buffer.alloc(1)])
  })
}

/** The bytes of an IPv6 address, as the URL parser writes it out. */
function sixteen(address: string): Buffer {
  const [before = "", after] = address.split("::")
  const groups = (text: string | undefined) => (text ? text.split(":") : [])
  const [left, right] = [groups(before), groups(after)]
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => "0")
  const bytes = Buffer.alloc(16)
  ;[...left, ...zeros, ...right].forEach((group, index) =>
    bytes.writeUInt16BE(Number.parseInt(group, 16), 2 * index),
  )
  return bytes
}
