import { describe, expect, it } from "vitest"
import { parseWebhookSecret, signWebhook } from "./standard-webhooks.ts"

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

it.each([
  ["whsec_QUJD", "ABC"],
  ["QUJD", "ABC"],
])("%j is the secret %j", (text, secret) => {
  expect(parseWebhookSecret(text)).toEqual(new TextEncoder().encode(secret))
})

it.each(["", "whsec_", "whsec_QUJ", "whsec_whsec_QUJD", "whsec_ QUJD"])("%j is no secret", (text) => {
  expect(parseWebhookSecret(text)).toBeUndefined()
})
