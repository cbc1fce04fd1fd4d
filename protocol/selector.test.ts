import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import {
  checkHost,
  checkPrefix,
  checkTag,
  checkUrl,
  hostCovers,
  hostCoversUrl,
  hostWithin,
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
    "NS/a",
    "u",
    "U:a",
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
  ])("%j is %j", (url, normal) => expect(checkUrl(url)).toEqual({ value: normal }))

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
