import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import * as keys from "./keys.ts"

const name = fc.stringMatching(/^[a-z0-9][a-z0-9-]{0,3}$/)
const namespace = fc.oneof(
  fc.constant(""),
  fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9._-]{0,3}(\/[a-z]{1,2})?$/),
)

/** Every key that belongs to a tenant, by what it is of. */
const keysOf = (
  tenant: string,
  of: { namespace: string; target: string; principal: string; key: string },
) => ({
  head: keys.headKey(tenant),
  namespace: keys.namespaceKey(tenant, of.namespace),
  tags: keys.tagsKey(tenant, of.namespace),
  log: keys.logKey(tenant),
  idempotency: keys.idempotencyKey(tenant, of.principal, of.key),
  later: keys.laterKey(tenant),
  laterItems: keys.laterItemsKey(tenant),
  laterAfter: keys.laterAfterKey(tenant),
  cursor: keys.cursorKey(tenant),
  lanes: keys.lanesKey(tenant),
  lease: keys.leaseKey(tenant, of.target),
  sent: keys.sentKey(tenant, of.target),
  late: keys.lateKey(tenant, of.target),
  due: keys.dueKey(tenant, of.target),
  dueItems: keys.dueItemsKey(tenant, of.target),
  dead: keys.deadKey(tenant, of.target),
  never: keys.neverKey(tenant),
})

const one = fc.record({
  namespace,
  target: name,
  principal: name,
  key: fc.string({ minLength: 1, maxLength: 6 }),
})

describe("keys", () => {
  it("of one tenant share its hash tag, so that a script may touch them all", () => {
    fc.assert(
      fc.property(name, one, (tenant, of) => {
        for (const key of Object.values(keysOf(tenant, of))) expect(/\{(.*?)\}/.exec(key)?.[1]).toBe(tenant)
      }),
    )
  })

  it("of different things are different", () => {
    fc.assert(
      fc.property(name, name, one, one, (tenant, other, a, b) => {
        const found = new Map<string, string>()
        const parts: Record<string, (of: typeof a) => string> = {
          namespace: (of) => of.namespace,
          tags: (of) => of.namespace,
          idempotency: (of) => `${of.principal} ${of.key}`,
        }
        const ofTarget = ["lease", "sent", "late", "due", "dueItems", "dead"]
        for (const [owner, of] of [
          [tenant, a],
          [tenant, b],
          [other, b],
        ] as const) {
          for (const [kind, key] of Object.entries(keysOf(owner, of))) {
            const part = ofTarget.includes(kind) ? of.target : (parts[kind]?.(of) ?? "")
            const thing = [owner, kind, part].join("\n")
            expect(found.get(key) ?? thing).toBe(thing)
            found.set(key, thing)
          }
        }
      }),
    )
  })

  it("of an account's pace are its own slot", () => {
    expect(keys.paceKey("CLOUDFLARE_PURGE_TOKEN", "tags")).toBe("tm:pace:{CLOUDFLARE_PURGE_TOKEN}:tags")
    expect(keys.holdKey("CLOUDFLARE_PURGE_TOKEN")).toBe("tm:pace:{CLOUDFLARE_PURGE_TOKEN}:hold:now")
    expect(keys.paceNeverKey("CLOUDFLARE_PURGE_TOKEN")).toBe("tm:pace:{CLOUDFLARE_PURGE_TOKEN}:never:now")
  })
})

describe("a channel", () => {
  it("of a wake names its tenant and namespace", () => {
    fc.assert(
      fc.property(name, namespace, (tenant, of) => {
        expect(keys.parseWakeChannel(keys.wakeChannel(tenant, of))).toEqual({ tenant, namespace: of })
      }),
    )
  })

  it("of a probe matches the pattern of wakes, and is none", () => {
    const prefix = keys.WAKE_PATTERN.replace("*", "")
    expect(keys.probeChannel("relay-1").startsWith(prefix)).toBe(true)
    expect(keys.wakeChannel("default", "blog").startsWith(prefix)).toBe(true)
    expect(keys.parseWakeChannel(keys.probeChannel("relay-1"))).toBeUndefined()
  })

  it.each(["", "tm:v1:", "tm:v2:{a}:b", "x tm:v1:{a}:b", "tm:v1:{A}:b", "tm:v1:{}:b", "tm:v1:{a}b"])(
    "%j is no wake",
    (channel) => expect(keys.parseWakeChannel(channel)).toBeUndefined(),
  )
})
