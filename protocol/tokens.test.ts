import { describe, expect, it, onTestFinished, vi } from "vitest"
import { Problem } from "./errors.ts"
import {
  authenticate,
  hashToken,
  mayTouch,
  newToken,
  type Principal,
  readsAll,
  requirePlain,
  requireScope,
  scopePatterns,
} from "./tokens.ts"

type Token = Parameters<typeof authenticate>[0][number]

const NOW = Date.parse("2026-06-01T12:00:00Z")

const token = (name: string, sha256: string | string[], more: Partial<Token> = {}): Token => ({
  name,
  sha256,
  scopes: ["read:*"],
  tenant: "default",
  ...more,
})

const bearer = (text: string) => `Bearer ${text}`

/** What is thrown at whoever may not. */
async function refusal(asking: Promise<unknown>): Promise<Problem> {
  const error = await asking.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof Problem)) throw new Error("it was not refused", { cause: error })
  return error
}

describe("a token", () => {
  it("is 32 random bytes, and known by its hash", async () => {
    const [one, other] = [newToken(), newToken()]
    expect(one).toMatch(/^tm_[A-Za-z0-9_-]{43}$/)
    expect(one).not.toBe(other)
    expect(await hashToken("tm_")).toMatch(/^[0-9a-f]{64}$/)
    expect(await hashToken(one)).not.toBe(await hashToken(other))
  })

  it("stands for its name, its tenant and its scopes", async () => {
    const text = newToken()
    const mine = token("deploy", await hashToken(text), { tenant: "acme", scopes: ["publish:blog"] })
    const tokens = [token("other", await hashToken(newToken())), mine]
    const principal = { name: "deploy", tenant: "acme", scopes: ["publish:blog"] }
    expect(await authenticate(tokens, bearer(text), NOW)).toEqual(principal)
    expect(await authenticate(tokens, `bearer ${text}`, NOW)).toEqual(principal)
  })

  it("is found under any of its hashes while it is rotated, in either case", async () => {
    const [old, fresh] = [newToken(), newToken()]
    const tokens = [token("deploy", [(await hashToken(old)).toUpperCase(), await hashToken(fresh)])]
    for (const text of [old, fresh]) {
      expect(await authenticate(tokens, bearer(text), NOW)).toMatchObject({ name: "deploy" })
    }
  })

  it("is compared with every other, whichever matches", async () => {
    const text = newToken()
    const others = ["0", "1", "2", "3"].map((digit) => digit.repeat(64))
    const tokens = [
      token("a", [await hashToken(text), others[0] ?? ""]),
      token("b", others[1] ?? ""),
      token("c", others.slice(2)),
    ]
    // To be compared, a hash is written in small letters first.
    const lower = vi.spyOn(String.prototype, "toLowerCase")
    onTestFinished(() => lower.mockRestore())
    expect(await authenticate(tokens, bearer(text), NOW)).toMatchObject({ name: "a" })
    const compared = lower.mock.contexts.map(String)
    for (const other of others) expect(compared).toContain(other)
  })

  it("is digested once, and known from then on: by itself, and to the list that it is of", async () => {
    const [text, wrong] = [newToken(), newToken()]
    const tokens = [token("deploy", await hashToken(text), { expires: "2027-01-31" })]
    const digest = vi.spyOn(crypto.subtle, "digest")
    onTestFinished(() => digest.mockRestore())
    const refused = async (presented: string, list = tokens, now = NOW) =>
      (await refusal(authenticate(list, bearer(presented), now))).code
    for (let time = 0; time < 3; time += 1)
      expect(await authenticate(tokens, bearer(text), NOW)).toMatchObject({ name: "deploy" })
    expect(digest).toHaveBeenCalledTimes(1)
    // What is refused is not remembered, so that nobody fills the memory by guessing.
    for (let time = 0; time < 3; time += 1) expect(await refused(wrong)).toBe("unauthorized")
    expect(digest).toHaveBeenCalledTimes(4)
    expect(await refused(text, [token("deploy", "0".repeat(64))])).toBe("unauthorized")
    expect(await refused(text, tokens, Date.parse("2027-01-31T00:00:00.000Z"))).toBe("unauthorized")
    expect(await refused(text.toUpperCase())).toBe("unauthorized")
  })

  it("ends at 00:00 UTC of the day on which it expires", async () => {
    const text = newToken()
    const tokens = [token("deploy", await hashToken(text), { expires: "2027-01-31" })]
    const midnight = Date.parse("2027-01-31T00:00:00.000Z")
    expect(await authenticate(tokens, bearer(text), midnight - 1)).toMatchObject({ name: "deploy" })
    expect((await refusal(authenticate(tokens, bearer(text), midnight))).code).toBe("unauthorized")
  })

  it.each([
    ["none is sent", undefined],
    ["nothing is sent", ""],
    ["it is not a bearer's", "Basic ZGVwbG95OmE="],
    ["it is empty", "Bearer "],
    ["there are two", "Bearer a b"],
    ["it is too long to be one", `Bearer ${"x".repeat(513)}`],
    ["it is unknown", "Bearer tm_unknown"],
    ["it is a hash", `Bearer ${"0".repeat(64)}`],
  ])("is refused where %s", async (_, authorization) => {
    const problem = await refusal(authenticate([token("deploy", "0".repeat(64))], authorization, NOW))
    expect(problem).toMatchObject({
      code: "unauthorized",
      status: 401,
      headers: { "www-authenticate": "Bearer" },
    })
  })

  it("whose secret is missing is nobody's", async () => {
    // A name that the environment does not hold is read as "".
    for (const text of ["", newToken()]) {
      expect((await refusal(authenticate([token("deploy", "")], bearer(text), NOW))).status).toBe(401)
    }
    expect((await refusal(authenticate([], bearer(newToken()), NOW))).status).toBe(401)
  })

  it("that is refused tells neither what was sent nor whether it was once valid", async () => {
    const text = newToken()
    const expired = [token("deploy", await hashToken(text), { expires: "2020-01-01" })]
    const [known, unknown] = await Promise.all([
      refusal(authenticate(expired, bearer(text), NOW)),
      refusal(authenticate(expired, bearer(newToken()), NOW)),
    ])
    expect(JSON.stringify(known)).toBe(JSON.stringify(unknown))
    expect(JSON.stringify(known)).not.toContain(text)
  })
})

const PATTERN_SCOPES = ["publish", "read", "epochs", "events"] as const
const PLAIN_SCOPES = ["everything", "metrics", "operate", "drain", "fleet"] as const
const ALL = [...PATTERN_SCOPES.map((kind) => `${kind}:*`), ...PLAIN_SCOPES]

const principal = (...scopes: string[]): Principal => ({ name: "deploy", tenant: "default", scopes })

const refuses = (ask: () => void): boolean => {
  try {
    ask()
    return false
  } catch (error) {
    expect(error).toMatchObject({ code: "insufficient_scope", status: 403 })
    return true
  }
}

/** Which of all scopes a principal has, by asking for each. */
function granted(who: Principal): string[] {
  return [
    ...PATTERN_SCOPES.filter((scope) => !refuses(() => requireScope(who, scope, "blog"))).map(
      (one) => `${one}:*`,
    ),
    ...PLAIN_SCOPES.filter((scope) => !refuses(() => requirePlain(who, scope))),
  ]
}

describe("scopes", () => {
  it.each(ALL)("%s implies no other", (scope) => expect(granted(principal(scope))).toEqual([scope]))

  it("add up", () => {
    expect(granted(principal(...ALL))).toEqual(ALL)
    expect(granted(principal())).toEqual([])
  })

  it.each([
    ["publish:blog", "blog", true],
    ["publish:blog", "blog/posts", true],
    ["publish:blog/posts", "blog", false],
    ["publish:blog", "blogger", false],
    ["publish:*", "blog", true],
  ])("%s reaches %s: %s", (scope, namespace, reaches) => {
    expect(mayTouch(principal(scope), "publish", namespace)).toBe(reaches)
  })

  it("name their patterns, of one kind", () => {
    expect(scopePatterns(principal("read:a", "publish:b", "read:*", "everything"), "read")).toEqual([
      "a",
      "*",
    ])
  })

  it("hold entries of no single namespace only as read:*", () => {
    expect(readsAll(principal("read:*"))).toBe(true)
    expect(readsAll(principal("read:blog", "publish:*", "everything", "operate"))).toBe(false)
  })
})
