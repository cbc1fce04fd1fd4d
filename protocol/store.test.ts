import { describe, expect, it } from "vitest"
import { answerCode, answerWords, classifyReplyError, mayBeElsewhere } from "./store.ts"

/** As Redis 7.0 words them, but for the last but one, which is 6.2's, and the last, a transaction's. */
const ANSWERS = [
  ["READONLY You can't write against a read only replica.", "READONLY", "unreachable", true],
  [
    "READONLY You can't write against a read only replica. script: f00, on @user_script:12.",
    "READONLY",
    "unreachable",
    true,
  ],
  [
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "MASTERDOWN",
    "unreachable",
    true,
  ],
  ["MOVED 5718 127.0.0.1:7002", "MOVED", "unreachable", true],
  ["ASK 5718 127.0.0.1:7002", "ASK", "unreachable", false],
  ["CLUSTERDOWN Hash slot not served", "CLUSTERDOWN", "unreachable", true],
  ["TRYAGAIN Multiple keys request during rehashing of slot", "TRYAGAIN", "unreachable", false],
  ["LOADING Redis is loading the dataset in memory", "LOADING", "unreachable", true],
  ["NOREPLICAS Not enough good replicas to write.", "NOREPLICAS", "unreachable", true],
  ["MISCONF Errors writing to the AOF file: No space left on device", "MISCONF", "unreachable", false],
  ["BUSY Redis is busy running a script. You can only call SCRIPT KILL", "BUSY", "unreachable", false],
  ["NOAUTH Authentication required.", "NOAUTH", "refused", false],
  ["WRONGPASS invalid username-password pair or user is disabled.", "WRONGPASS", "refused", false],
  ["NOPERM this user has no permissions to run the 'set' command", "NOPERM", "refused", false],
  [
    "ERR ACL failure in script: User x has no permissions to run the 'time' command",
    "NOPERM",
    "refused",
    false,
  ],
  [
    "ERR Error running script (call to f_1): @user_script:8: @user_script: 8: -READONLY You can't write",
    "READONLY",
    "unreachable",
    true,
  ],
  [
    "EXECABORT Transaction discarded because of: READONLY You can't write against a read only replica.",
    "READONLY",
    "unreachable",
    true,
  ],
] as const

describe("an error of Redis", () => {
  it.each(ANSWERS)("%s is %s: %s, elsewhere %s", (message, code, failure, isElsewhere) => {
    expect(answerCode(message)).toBe(code)
    expect(classifyReplyError(message)).toBe(failure)
    expect(mayBeElsewhere(code)).toBe(isElsewhere)
    expect(answerWords(message)).toMatch(/^Redis (is|has|cannot|wants|refuses|gives) [^.]*$/)
  })

  it("says in words what Redis is", () => {
    expect(answerWords("READONLY You can't write")).toBe("Redis is a read-only replica")
  })

  it.each([
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "BUSYGROUP Consumer Group name already exists",
    "ERR unknown command 'FOO', with args beginning with: 'READONLY '",
    "NOSCRIPT No matching script. Please use EVAL.",
    "the store did not answer",
    "",
  ])("%s says nothing of Redis itself", (message) => {
    expect([answerCode(message), answerWords(message)]).toEqual([undefined, undefined])
    expect(classifyReplyError(message)).toBe("refused")
  })

  it("is of a full store in either wording", () => {
    expect(classifyReplyError("OOM command not allowed when used memory > 'maxmemory'.")).toBe("full")
  })
})
