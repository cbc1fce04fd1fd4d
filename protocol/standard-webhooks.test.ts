import { describe, expect, it } from "vitest"
import { parseWebhookSecret, signWebhook, verifyWebhook } from "./standard-webhooks.ts"

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

const sign = async (id: string, at: number, body: string) =>
  (await signWebhook(SECRET, id, at, body))["webhook-signature"]

describe("a delivery", () => {
  /** @see https://github.com/standard-webhooks/standard-webhooks/blob/main/libraries/javascript/src/index.test.ts */
  it("is signed as the reference libraries sign it", async () => {
    expect(
      await signWebhook(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, '{"test": 2432232314}'),
    ).toEqual({
      "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
      "webhook-timestamp": "1614265330",
      "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    })
  })

  it("is signed with its id, its time and its body", async () => {
    const signature = await sign("a", 1, "{}")
    expect(await sign("a", 1.9, "{}")).toBe(signature)
    for (const other of [sign("b", 1, "{}"), sign("a", 2, "{}"), sign("a", 1, "{ }")]) {
      expect(await other).not.toBe(signature)
    }
  })

  it("is not signed by what is no secret, and the complaint does not show it", async () => {
    const signing = signWebhook("whsec_hunter2!", "a", 1, "{}")
    await expect(signing).rejects.toThrow(TypeError)
    await expect(signing).rejects.not.toThrow(/hunter2/)
  })
})

describe("verifying", () => {
  const AT = 1_614_265_330_000
  const BODY = '{"test": 2432232314}'
  const SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
  const GIVEN = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": SIGNATURE,
  }
  const verifies = (more: object = {}, { secrets = [SECRET], body = BODY, now = AT } = {}) =>
    verifyWebhook(secrets, new Headers({ ...GIVEN, ...more }), body, now)

  /** @see https://github.com/standard-webhooks/standard-webhooks/blob/main/libraries/javascript/src/index.test.ts */
  it("takes what the reference libraries sign, among other signatures too", async () => {
    expect(await verifies()).toBe(true)
    expect(await verifies({ "webhook-signature": `v1a,QUJD v1,QUJD ${SIGNATURE} v2,x` })).toBe(true)
    expect(await verifies({}, { secrets: ["", "whsec_QUJD", SECRET] })).toBe(true)
  })

  it("takes nothing that is not signed so", async () => {
    const others: readonly object[] = [
      { "webhook-id": "msg_other" },
      { "webhook-id": "" },
      { "webhook-timestamp": "1614265331" },
      { "webhook-timestamp": "1614265330abc" },
      { "webhook-timestamp": "" },
      { "webhook-signature": "" },
      { "webhook-signature": SIGNATURE.replace("v1,", "v2,") },
      { "webhook-signature": SIGNATURE.replace("v1,", "") },
      { "webhook-signature": `${"v1,QUJD ".repeat(16)}${SIGNATURE}` },
    ]
    for (const other of others) expect(await verifies(other), JSON.stringify(other)).toBe(false)
    expect(await verifies({}, { body: `${BODY} ` })).toBe(false)
    for (const secrets of [[], [""], ["whsec_"], ["whsec_QUJD"]])
      expect(await verifies({}, { secrets })).toBe(false)
  })

  it("takes it within five minutes of its time", async () => {
    for (const [offset, taken] of [
      [300_000, true],
      [-300_000, true],
      [300_001, false],
      [-300_001, false],
    ] as const) {
      expect(await verifies({}, { now: AT + offset })).toBe(taken)
    }
  })
})

it.each([
  ["whsec_QUJD", "ABC"],
  ["QUJD", "ABC"],
])("%j is the secret %j", (text, secret) => {
  expect(parseWebhookSecret(text)).toEqual(new TextEncoder().encode(secret))
})

it.each(["", "whsec_", "whsec_QUJ", "whsec_whsec_QUJD", "whsec_ QUJD"])("%j is no secret", (text) => {
  expect(parseWebhookSecret(text)).toBeUndefined()
})
