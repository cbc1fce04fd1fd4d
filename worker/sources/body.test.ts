import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { concatBytes, utf8 } from "../../protocol/bytes.ts"
import { inflate, parseBody } from "./body.ts"

type Bytes = ReturnType<typeof utf8>

const delivery = (body: Bytes | string, headers: Readonly<Record<string, string>> = {}) => ({
  headers: new Headers(headers),
  body: typeof body === "string" ? utf8(body) : body,
})

const FORM = { "content-type": "application/x-www-form-urlencoded; charset=utf-8" }
const form = (text: string) => JSON.parse(JSON.stringify(parseBody(delivery(text, FORM)) ?? null)) as unknown

const latin1 = (text: string): Bytes => Uint8Array.from(text, (char) => char.charCodeAt(0))

function utf16(text: string, isLittle: boolean): Bytes {
  const bytes = new Uint8Array(text.length * 2)
  const view = new DataView(bytes.buffer)
  for (let at = 0; at < text.length; at += 1) view.setUint16(at * 2, text.charCodeAt(at), isLittle)
  return bytes
}

/** Compressed by the runtime itself, in pieces. */
async function compress(parts: Iterable<Bytes>, format: CompressionFormat = "gzip"): Promise<Bytes> {
  const { readable, writable } = new CompressionStream(format)
  const write = async () => {
    const writer = writable.getWriter()
    for (const part of parts) await writer.write(part)
    await writer.close()
  }
  const [, bytes] = await Promise.all([write(), new Response(readable).arrayBuffer()])
  return new Uint8Array(bytes)
}

describe("a body", () => {
  const json = '{"id":788032119674292922,"title":"Größe"}'
  const value = { id: "788032119674292922", title: "Größe" }
  const type = (charset: string) => ({ "content-type": `application/json; charset=${charset}` })

  it.for([
    ["UTF-8", utf8(json), {}],
    ["UTF-8 with a mark", utf8(`\ufeff${json}`), {}],
    ["UTF-8, whatever is said", utf8(json), type("iso-8859-1")],
    ["UTF-8 by another name", utf8(json), type("utf8mb4")],
    ["Latin-1", latin1(json), type("ISO-8859-1")],
    ["Latin-1 in quotes", latin1(json), type('"latin1"')],
    ["windows-1252", latin1(json), type("windows-1252")],
    ["UTF-16 with a mark", utf16(`\ufeff${json}`, true), {}],
    ["UTF-16 of the other end with a mark", utf16(`\ufeff${json}`, false), {}],
    ["UTF-16 without one", utf16(json, true), type("utf-16")],
    ["UTF-16 of the other end without one", utf16(json, false), type("utf-16")],
    ["JSON that is said to be a form", utf8(json), FORM],
  ] as const)("is read in %s", ([, body, headers]) => {
    expect(parseBody(delivery(body, headers))).toEqual(value)
  })

  it.for([
    ["Latin-1 that nobody tells: it could be any charset", latin1(json), {}],
    ["Latin-1 that is said to be UTF-8", latin1(json), type("utf-8")],
    ["half a character of UTF-16", utf16(`\ufeff${json}`, true).slice(0, -1), {}],
    ["nothing", "", FORM],
    ["XML", "<id>1</id>", { "content-type": "application/xml" }],
    ["a form that is not said to be one", "id=1", {}],
    ["more members than a form has", "a&".repeat(10_001), FORM],
  ] as const)("says nothing in %s", ([, body, headers]) => {
    expect(parseBody(delivery(body, headers))).toBeUndefined()
  })

  it("is never one that throws", () => {
    const types = fc.constantFrom(
      FORM["content-type"],
      "a; charset=utf-16",
      "a; charset=",
      "text/plain; charset=x-user-defined",
    )
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), types, (bytes, contentType) => {
        parseBody(delivery(Uint8Array.from(bytes), { "content-type": contentType }))
      }),
    )
  })
})

describe("a form", () => {
  it.for([
    ["id=e1", { id: "e1" }],
    ["payload=%7B%22a%22%3A%5B1%5D%7D", { a: [1] }],
    ["payload=%7B%22a%22%3A1%7D&token=x", { payload: { a: 1 }, token: "x" }],
    ["payload=text", { payload: "text" }],
    ["data=%7B%22id%22%3A9007199254740993%7D", { data: { id: "9007199254740993" } }],
    ["post[ID]=17&post[post_type]=page&post_id=17", { post: { ID: "17", post_type: "page" }, post_id: "17" }],
    ["sys%5BcontentType%5D%5Bsys%5D%5Bid%5D=post", { sys: { contentType: { sys: { id: "post" } } } }],
    ["a[]=1&a[]=2&b=1&b=2", { a: ["1", "2"], b: ["1", "2"] }],
    ["a[0]=x&a[1]=y", { a: { "0": "x", "1": "y" } }],
    ["a=1&a[b]=2", { a: "1" }],
    ["a=b+c%2Bd", { a: "b c+d" }],
    ["a=[draft]", { a: "[draft]" }],
    ["id=1&slug=gr%FC%DFe", { id: "1" }],
    [`${"a[b]".padEnd(40, "[c]")}=1&d=2`, { d: "2" }],
  ] as const)("%s is %j", ([text, expected]) => {
    expect(form(text)).toEqual(expected)
  })

  it("reaches no prototype", () => {
    const value = parseBody(delivery("__proto__[polluted]=1&constructor[prototype][polluted]=1&a=1", FORM))
    expect(Object.keys(value as object)).toEqual(["__proto__", "constructor", "a"])
    expect(Reflect.get({}, "polluted")).toBeUndefined()
  })
})

describe("a body that is compressed", () => {
  const LIMIT = 1024 * 1024
  const body = utf8(`{"text":"${"tides ".repeat(1_000)}"}`)

  it.for(["gzip", "deflate"] as const)("by %s is what it was", async (format) => {
    const sent = delivery(await compress([body], format), { "content-encoding": format })
    expect(await inflate(sent, LIMIT)).toEqual(body)
  })

  it("is known by its first bytes where nobody tells", async () => {
    expect(await inflate(delivery(await compress([body])), LIMIT)).toEqual(body)
    expect(await inflate(delivery(await compress([body]), { "content-encoding": "br" }), LIMIT)).toEqual(body)
  })

  it("may be as long as the limit, and no longer", async () => {
    const sent = delivery(await compress([body]))
    expect(await inflate(sent, body.length)).toEqual(body)
    expect(await inflate(sent, body.length - 1)).toBeUndefined()
  })

  it("is left alone where it is not, is cut off, or is spoilt", async () => {
    const whole = await compress([body])
    const none = [
      delivery(body),
      delivery(body, { "content-encoding": "gzip" }),
      delivery(body, { "content-encoding": "deflate" }),
      delivery(whole.slice(0, -12)),
      delivery(whole.map((byte, at) => (at > 10 ? byte ^ 1 : byte))),
      delivery(concatBytes(whole, utf8("and more"))),
      delivery(""),
    ]
    for (const each of none) expect(await inflate(each, LIMIT)).toBeUndefined()
  })

  it("costs no more than the limit, whatever becomes of it", async () => {
    const zeros = new Uint8Array(1024 * 1024)
    const bomb = await compress(
      (function* () {
        for (let n = 0; n < 1_500; n += 1) yield zeros
      })(),
    )
    let taken = 0
    const slices = new Proxy(bomb, {
      get(target, name) {
        if (name !== "subarray") {
          const value: unknown = Reflect.get(target, name)
          return typeof value === "function" ? value.bind(target) : value
        }
        return (from: number, to: number) => {
          taken = to
          return target.subarray(from, to)
        }
      },
    })
    expect(await inflate(delivery(slices), LIMIT)).toBeUndefined()
    // A slice or two, of a megabyte and a half.
    expect(bomb.length).toBeGreaterThan(1024 * 1024)
    expect(taken).toBeLessThanOrEqual(4 * 16 * 1024)
  })
})
