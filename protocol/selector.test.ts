import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { respelling } from "../test/support/spellings.ts"
import {
  asNormal,
  checkHost,
  checkNormalUrl,
  checkPrefix,
  checkTag,
  checkUrl,
  hostCovers,
  hostCoversUrl,
  hostWithin,
  normalUrl,
  prefixCovers,
  urlWithin,
} from "./selector.ts"

describe("a tag", () => {
  it.each([
    "post-42",
    "post:42",
    "Post-42",
    "a b",
    "a,b",
    "%41",
    "é",
    "日本",
    "😀",
    "ns",
    "nsx/a",
    "NSX/a",
    "NS",
    "u",
    "U",
    "xns/a",
    "ns%2",
    "__proto__",
    "x".repeat(1_024),
    "é".repeat(512),
  ])("%j is taken byte for byte", (tag) => expect(checkTag(tag)).toEqual({ value: tag }))

  it.each([
    ["", "empty"],
    [" a", "white space"],
    ["a ", "white space"],
    ["\u00a0a", "white space"],
    ["a\ufeff", "white space"],
    ["a\tb", "control"],
    ["a\nb", "control"],
    ["a\u0000", "control"],
    ["a\u007f", "control"],
    ["a\u0085b", "control"],
    ["a\ud800", "well-formed"],
    ["x".repeat(1_025), "1024 bytes"],
    ["é".repeat(513), "1024 bytes"],
    ["ns/blog", "own"],
    ["u:https://www.example.com/", "own"],
    // What a cache may take for those: it folds case, and may decode, trim or normalise.
    ...[
      "NS/blog",
      "Ns/Blog",
      "nS/shop",
      "NS/blog/+",
      "U:https://www.example.com/",
      "ns%2Fblog",
      "ns%2fblog",
      "%6es/blog",
      "ns%252Fblog",
      "ns%25252fblog",
      "%20ns/blog",
      "%09ns/blog",
      "%23ns/blog",
      "n\u017f/blog",
      "\uff2e\uff33\uff0fblog",
      "\u33b1/blog",
      "u\uff1ax",
      "\u200bns/blog",
      "n\u00ads/blog",
      "\u200b# ns/blog",
      "#ns/blog",
      "##NS/blog",
      "#u:x",
    ].map((tag): [string, string] => [tag, "own"]),
  ])("%j is refused: %s", (tag, why) => {
    expect(checkTag(tag)).toHaveProperty("problem", expect.stringContaining(why))
  })
})

describe("a url", () => {
  it.each([
    ["https://www.example.com", "https://www.example.com/"],
    ["HTTPS://WWW.Example.COM/Path", "https://www.example.com/Path"],
    ["https://www.example.com:443/a", "https://www.example.com/a"],
    ["http://www.example.com:80/a", "http://www.example.com/a"],
    ["https://www.example.com:8443/a", "https://www.example.com:8443/a"],
    ["https://www.example.com/a/../b", "https://www.example.com/b"],
    ["https://www.example.com/a?b=1&a=2", "https://www.example.com/a?b=1&a=2"],
    ["https://www.example.com/a?", "https://www.example.com/a?"],
    ["https://www.example.com/é", "https://www.example.com/%C3%A9"],
    ["https://www.example.com/%7ea", "https://www.example.com/%7ea"],
    ["https://bücher.example/", "https://xn--bcher-kva.example/"],
    ["http://[::1]:8080/a", "http://[::1]:8080/a"],
    ["https://www.example.com./a./b", "https://www.example.com/a./b"],
    ["https://www.example.com.:8443/", "https://www.example.com:8443/"],
    ["https://localhost/a./b", "https://localhost/a./b"],
  ])("%j is sent as %j", (url, written) => expect(checkUrl(url)).toEqual({ value: written }))

  it("is as it was when it is normalised once more", () => {
    const part = fc.constantFrom(
      "a",
      "B",
      "é",
      "%41",
      "%zz",
      "..",
      ".",
      "/",
      "//",
      "?",
      "&",
      "=",
      " ",
      ":8443",
      "😀",
      "\\",
    )
    fc.assert(
      fc.property(fc.array(part, { maxLength: 12 }), (parts) => {
        const once = checkUrl(`https://www.example.com/${parts.join("")}`)
        expect("value" in once && checkUrl(once.value)).toEqual(once)
      }),
    )
  })

  it.each([
    ["/blog/", "absolute"],
    ["www.example.com/", "absolute"],
    ["", "absolute"],
    ["https://", "absolute"],
    ["https://www.example.com:99999/", "absolute"],
    ["ftp://www.example.com/", "http"],
    ["file:///etc/passwd", "http"],
    ["javascript:alert(1)", "http"],
    ["https://user@www.example.com/", "user info"],
    ["https://user:pass@www.example.com/", "user info"],
    ["https://www.example.com/#top", "fragment"],
    ["https://www.example.com/#", "fragment"],
    [`https://www.example.com/${"x".repeat(2_025)}`, "2048 bytes"],
    [`https://www.example.com/${"é".repeat(400)}`, "2048 bytes"],
  ])("%j is refused: %s", (url, why) => {
    expect(checkUrl(url)).toHaveProperty("problem", expect.stringContaining(why))
  })

  it("may have 2,048 bytes", () => {
    const url = `https://www.example.com/${"x".repeat(2_024)}`
    expect(checkUrl(url)).toEqual({ value: url })
  })
})

describe("the normal form of a url", () => {
  it.each([
    ["/%d9%85%d8%b3%d9%84", "/%D9%85%D8%B3%D9%84"],
    ["/مسل", "/%D9%85%D8%B3%D9%84"],
    ["/%7euser/%41%2d%5f%2E", "/~user/A-_."],
    ["/a/%2e%2E/b/%2e/c", "/b/c"],
    ["/a%2eb/c", "/a.b/c"],
    // What `encodeURIComponent`, `encodeURI` and `rawurlencode` do not agree about.
    ["/it%27s%21(%28a%2cb%29)", "/it's!((a,b))"],
    ["/a?q=%27'%28", "/a?q=%27%27("],
    // What parts an address, a wildcard, and what is no character of its own stay as they are.
    ["/a%2fb%3fc%23d%26e%3De%2bf%3a%40%3b%24%5b%5d", "/a%2Fb%3Fc%23d%26e%3De%2Bf%3A%40%3B%24%5B%5D"],
    ["/%2a*", "/%2A*"],
    ["/%25%341", "/%2541"],
    ["/%ff%00%7f", "/%FF%00%7F"],
    // Behind a `%` that encodes nothing.
    ["/%%341", "/%%341"],
    ["/%4%31", "/%4%31"],
    ["/%zz%d9", "/%zz%D9"],
    ["/100%?a=%41", "/100%?a=A"],
    ["/a#%41", "/a"],
  ])("of %s is %s", (path, normal) =>
    expect(normalUrl(`https://www.example.com${path}`)).toBe(`https://www.example.com${normal}`),
  )

  it.each([
    ["https://www.example.com/a%2Fb", "https://www.example.com/a/b"],
    ["https://www.example.com/a%3Fb", "https://www.example.com/a?b"],
    ["https://www.example.com/a?b=%26", "https://www.example.com/a?b=&"],
    ["https://www.example.com/a?b=%2B", "https://www.example.com/a?b=+"],
    ["https://www.example.com/%2A", "https://www.example.com/*"],
    ["https://www.example.com/%2541", "https://www.example.com/A"],
    ["https://www.example.com/A", "https://www.example.com/a"],
    ["https://www.example.com/a", "http://www.example.com/a"],
    ["https://www.example.com/a?", "https://www.example.com/a"],
    ["https://www.example.com//a", "https://www.example.com/a"],
  ])("tells %s from %s", (one, other) => expect(normalUrl(one)).not.toBe(normalUrl(other)))

  it("is one for two spellings of an address", () => {
    fc.assert(
      fc.property(respelling, ({ url, spelled }) => {
        expect(normalUrl(spelled)).toBe(normalUrl(url))
        expect(checkNormalUrl(spelled)).toEqual(checkNormalUrl(url))
      }),
    )
  })

  it("is the normal form of itself, and of what is sent", () => {
    fc.assert(
      fc.property(respelling, fc.string({ unit: "binary" }), ({ spelled }, tail) => {
        const text = spelled + tail.replaceAll(/[#\t\n\r]/g, "")
        const normal = asNormal(text)
        expect(asNormal(normal)).toBe(normal)
        const checked = checkUrl(text)
        if ("value" in checked) expect(asNormal(checked.value)).toBe(normal)
      }),
    )
  })

  it("is nothing for what is refused", () => {
    expect(normalUrl("/a")).toBeUndefined()
    expect(normalUrl("ftp://www.example.com/")).toBeUndefined()
    expect(normalUrl("https://me@www.example.com/")).toBeUndefined()
    expect(checkNormalUrl("https://www.example.com/#a")).toEqual(checkUrl("https://www.example.com/#a"))
  })
})

describe("a prefix", () => {
  it.each([
    ["https://www.example.com", "https://www.example.com/"],
    ["https://www.example.com/Blog/", "https://www.example.com/Blog/"],
    ["https://www.example.com/blog", "https://www.example.com/blog"],
  ])("%j is %j", (prefix, normal) => expect(checkPrefix(prefix)).toEqual({ value: normal }))

  it.each([
    ["https://www.example.com/?a=1", "query"],
    ["https://www.example.com/?", "query"],
    ["https://www.example.com/#a", "fragment"],
    ["https://me@www.example.com/", "user info"],
    ["ftp://www.example.com/", "http"],
    ["/blog/", "absolute"],
    ["https://*.example.com/blog/", "one host"],
    ["https://www..example.com/blog/", "one host"],
  ])("%j is refused: %s", (prefix, why) => {
    expect(checkPrefix(prefix)).toHaveProperty("problem", expect.stringContaining(why))
  })

  it.each([
    ["https://www.example.com/blog/", "https://www.example.com/blog/", true],
    ["https://www.example.com/blog/", "https://www.example.com/blog/a/b?q=1", true],
    ["https://www.example.com/blog/", "https://www.example.com/blog", true],
    ["https://www.example.com/blog/", "https://www.example.com/blog?q=1", true],
    ["https://www.example.com/blog/", "https://www.example.com/blogger", false],
    ["https://www.example.com/blog", "https://www.example.com/blog/a", true],
    ["https://www.example.com/blog", "https://www.example.com/blogger", false],
    ["https://www.example.com/blog", "https://www.example.com/Blog/", false],
    ["https://www.example.com/blog/", "https://www.example.com/", false],
    ["https://www.example.com/", "https://www.example.com/anything", true],
    ["https://www.example.com/", "http://www.example.com/anything", false],
    ["https://www.example.com/", "https://example.com/anything", false],
    ["https://www.example.com/", "https://www.example.com:8443/anything", false],
    ["https://www.example.com:8443/", "https://www.example.com:8443/anything", true],
    ["https://www.example.com/blog//", "https://www.example.com/blog/a", false],
  ])("%s covers %s: %s", (prefix, url, covers) => expect(prefixCovers(prefix, url)).toBe(covers))
})

describe("a host", () => {
  it.each([
    ["www.example.com", "www.example.com"],
    ["WWW.Example.COM", "www.example.com"],
    ["WWW.example.com:8443", "www.example.com:8443"],
    ["www.example.com:443", "www.example.com:443"],
    ["www.example.com:080", "www.example.com:80"],
    ["localhost", "localhost"],
    ["127.0.0.1:6081", "127.0.0.1:6081"],
    ["[::1]", "[::1]"],
    ["[2001:DB8::1]:8080", "[2001:db8::1]:8080"],
    ["bücher.example", "xn--bcher-kva.example"],
    ["www.example.com.", "www.example.com"],
    ["www.example.com.:8443", "www.example.com:8443"],
    ["1.2.3.4.", "1.2.3.4"],
    ["a_b.-c.example", "a_b.-c.example"],
    [`${"a.".repeat(126)}a`, `${"a.".repeat(126)}a`],
  ])("%j is %j", (host, normal) => expect(checkHost(host)).toEqual({ value: normal }))

  it.each([
    "",
    "https://www.example.com",
    "www.example.com/",
    "www.example.com/blog",
    "www.example.com?a",
    "www.example.com#a",
    "me@www.example.com",
    "www example com",
    " www.example.com",
    "www.example.com:",
    "www.example.com:0",
    "www.example.com:65536",
    "www.example.com:http",
    "www.example.com:80:80",
    "::1",
    "a\\b",
    "a%b",
    "a|b",
    "*",
    "*.example.com",
    "%2A.example.com",
    "www.*.example.com",
    ".example.com",
    "example..com",
    "www.example.com..",
    ".",
    "1.2.3",
    "127.1",
    "0x7f.1",
    "0x7f000001",
    "2130706433",
    "{www,shop}.example.com",
    "www.example.com,shop.example.com",
    "www.example.com;shop.example.com",
    "(www.)example.com",
    "www.example.com$",
    `${"a".repeat(64)}.example`,
    `${"a.".repeat(127)}a`,
  ])("%j is refused", (host) => expect(checkHost(host)).toHaveProperty("problem"))

  it.each([
    ["www.example.com", "www.example.com", true],
    ["www.example.com", "www.example.com:8443", true],
    ["www.example.com:8443", "www.example.com:8443", true],
    ["www.example.com:8443", "www.example.com", false],
    ["www.example.com:8443", "www.example.com:80", false],
    ["example.com", "www.example.com", false],
    ["www.example.com", "www.example.com.evil.test", false],
    ["[::1]", "[::1]:8080", true],
    ["[::1]:8080", "[::1]", false],
  ])("%s covers %s: %s", (declared, host, covers) => expect(hostCovers(declared, host)).toBe(covers))

  it.each([
    ["www.example.com", "https://www.example.com/a", true],
    ["www.example.com", "http://www.example.com:8080/a", true],
    ["www.example.com:443", "https://www.example.com/a", true],
    ["www.example.com:443", "http://www.example.com/a", false],
    ["www.example.com:80", "http://www.example.com/a", true],
    ["www.example.com:8080", "https://www.example.com:8080/a", true],
    ["www.example.com:8080", "https://www.example.com/a", false],
    ["example.com", "https://www.example.com/a", false],
  ])("%s covers the url %s: %s", (declared, url, covers) => expect(hostCoversUrl(declared, url)).toBe(covers))
})

describe("a namespace's territory", () => {
  const hosts = ["www.example.com"]
  const prefixes = ["https://shop.example.com/blog/"]

  it.each([
    ["https://www.example.com/anything", true],
    ["https://shop.example.com/blog/a", true],
    ["https://shop.example.com/cart", false],
    ["https://evil.test/blog/", false],
  ])("by either a host or a prefix holds %s: %s", (url, within) => {
    expect(urlWithin(url, { hosts, prefixes })).toBe(within)
  })

  it("holds every spelling of what it holds", () => {
    fc.assert(
      fc.property(respelling, respelling, (inner, outer) => {
        const prefix = (url: string) => url.split("?")[0] ?? ""
        for (const url of [inner.url, outer.url]) {
          const held = (spelled: string, by: string) =>
            urlWithin(asWritten(spelled), { hosts: [], prefixes: [asWritten(prefix(by))] })
          const spelled = url === inner.url ? inner.spelled : outer.spelled
          expect(held(spelled, outer.spelled)).toBe(held(url, outer.url))
        }
      }),
    )
  })

  it("without hosts and prefixes holds nothing", () => {
    const nothing = { hosts: [], prefixes: [] }
    expect(urlWithin("https://www.example.com/", nothing)).toBe(false)
    expect(hostWithin("www.example.com", nothing)).toBe(false)
  })

  it("holds a host by hosts alone: a prefix is less than its host", () => {
    expect(hostWithin("www.example.com:8443", { hosts, prefixes })).toBe(true)
    expect(hostWithin("shop.example.com", { hosts, prefixes })).toBe(false)
  })
})

/** As an invalidation or a configuration has it. */
function asWritten(text: string): string {
  const checked = checkUrl(text)
  if ("problem" in checked) throw new Error(checked.problem)
  return checked.value
}
