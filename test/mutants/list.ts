/** One way to break the code that one test must notice. */
export interface Mutant {
  /** What is broken, for people. */
  readonly name: string
  /** Of `docs/guarantees.md`. */
  readonly invariant: string
  readonly file: string
  /** Stands exactly once in the file. */
  readonly find: string
  readonly replace: string
  /** The test that fails then: its file, the project of vitest that runs it, its title, and the suite that has that. */
  readonly test: {
    readonly project: "node" | "system"
    readonly file: string
    readonly title: string
    readonly suite?: string
  }
}

const node = (file: string, title: string) => ({ project: "node", file, title }) as const
/** What every plug that answers requests promises. */
const pages = (title: string) =>
  ({
    project: "node",
    file: "client/pages.test.ts",
    title,
    suite: "client/testing/page-suite.ts",
  }) as const
const system = (file: string, title: string) => ({ project: "system", file, title }) as const

export const MUTANTS: readonly Mutant[] = [
  {
    name: "epochs follow the clock alone",
    invariant: "I1",
    file: "protocol/lua/publish.lua",
    find: "local first = math.max(last + 1, now)",
    // Not for ever: the log refuses what is not above its own top, and each attempt begins higher.
    replace: "local first = last < 9000000000000000 and now or last",
    test: system(
      "test/scripts/publish.test.ts",
      "rise and are numbered without a gap under any clock, also one that jumps back",
    ),
  },
  {
    name: "a new generation forgets what was seen",
    invariant: "I1",
    file: "protocol/lua/adopt.lua",
    find: "local epoch = math.max(last + 1, time[1] * 1000000 + time[2], seenEpoch + 1)",
    replace: "local epoch = math.max(last + 1, time[1] * 1000000 + time[2])",
    test: system(
      "test/scripts/adopt.test.ts",
      "gives an epoch above what was seen where the store knows nothing and its clock is behind",
    ),
  },
  {
    name: "a log begins without a gap",
    invariant: "I2",
    file: "protocol/lua/publish.lua",
    find: "last, seq, identity = top(), 1, '-'",
    replace: "last, seq, identity = top(), 0, '-'",
    test: system(
      "test/scripts/publish.test.ts",
      "leaves out its first number, so that no cursor reads across its birth",
    ),
  },
  {
    name: "the identity of Redis is not compared",
    invariant: "I2",
    file: "protocol/lua/adopt.lua",
    find: "elseif adopted ~= identity then",
    replace: "elseif false then",
    test: system(
      "test/scripts/adopt.test.ts",
      "is made under another identity: a fail-over may have lost what nobody remembers",
    ),
  },
  {
    name: "READONLY is taken for silence",
    invariant: "I2",
    file: "protocol/store.ts",
    find: "/^(READONLY|MASTERDOWN|",
    replace: "/^(MASTERDOWN|",
    test: node(
      "relay-node/redis/upstream.node.test.ts",
      "leaves a node that became a replica, by the first answer that says so",
    ),
  },
  {
    name: "a commit compares no cursor (fencing)",
    invariant: "I2",
    file: "protocol/lua/commit.lua",
    find: "if redis.call('HGET', cursor, target) ~= held then return {'lost'} end",
    replace: "if not redis.call('HGET', cursor, target) then return {'lost'} end",
    test: system("test/scripts/lane.test.ts", "of two owners is one"),
  },
  {
    name: "the cursor moves though a call failed",
    invariant: "I2",
    file: "dispatch/lane.ts",
    find: "    if (result.stop) return this.#stop(result.stop)\n    const committed = await this.#commitRange",
    replace: "    const committed = await this.#commitRange",
    test: node(
      "dispatch/lane.node.test.ts",
      "stops the lane: the cursor stays, the backlog waits, and records tell",
    ),
  },
  {
    name: "what is refused as a whole is given up value by value",
    invariant: "I2",
    file: "dispatch/carry-out.ts",
    find: "if (isAll && found.taken === 0 && !second.stop && isAboutUs(tried, refusedWider)) {",
    replace: "if (false) {",
    test: node(
      "dispatch/about-us.node.test.ts",
      "pauses the lane: nothing is given up, and all is purged once that is mended",
    ),
  },
  {
    name: "the nodes of a target share one cursor",
    invariant: "I2",
    file: "dispatch/lane.ts",
    find: "this.#lane = { tenant, target: laneOf(name, node) }",
    replace: "this.#lane = { tenant, target: laneOf(name) }",
    test: system(
      "test/relay/nodes.test.ts",
      "one that is down delays and widens nothing at the other, and gets what it missed when it is back",
    ),
  },
  {
    name: "any answer of a Varnish is a purge",
    invariant: "I2",
    file: "dispatch/targets/varnish.ts",
    find: "if (told === null) {",
    replace: "if (false) {",
    test: node("dispatch/targets/varnish.test.ts", "%d of somebody else is none"),
  },
  {
    name: "a dead letter is dropped when it is put back",
    invariant: "I2",
    file: "protocol/lua/replay.lua",
    find: "redis.call('ZADD', due, at, item)",
    replace: "",
    test: node(
      "dispatch/due.node.test.ts",
      "that is put back is purged as hard, alone, and its invalidation done",
    ),
  },
  {
    name: "what a refused publish wrote is not taken back",
    invariant: "I2",
    file: "protocol/lua/publish.lua",
    find: "if back then redis.pcall(unpack(back)) end",
    replace: "",
    test: system("test/scripts/refused.test.ts", "leaves nothing, or is accepted whole"),
  },
  {
    name: "the cursor moves before what can be refused was written",
    invariant: "I2",
    file: "protocol/lua/commit.lua",
    find: "redis.call('HSET', cursor, target, held)",
    replace: "redis.call('HSET', cursor, target, owner .. ' ' .. to)",
    test: system("test/scripts/refused.test.ts", "is as if it had not been, once it was made again"),
  },
  {
    name: "the log is not read on a subscription",
    invariant: "I3",
    file: "relay-node/relay.ts",
    find: "onSubscribed: () => void catchUp(),",
    replace: "onSubscribed: () => {},",
    test: node(
      "relay-node/relay.node.test.ts",
      "reads the log on every subscription: what was said meanwhile is gone from Pub/Sub",
    ),
  },
  {
    name: "a log that moved without a wake waits for its turn",
    invariant: "I3",
    file: "relay-node/relay.ts",
    find: `if (verdict !== "same") tenant.restedAt = undefined`,
    replace: "",
    test: system("test/relay/resting.test.ts", "repairs lost wakes by the next poll, for every tenant"),
  },
  {
    name: "a look does not compare the seq with what was seen",
    invariant: "I4",
    file: "dispatch/adopt.ts",
    find: "(isSame && head.seq < seen.seq)",
    replace: "false",
    test: system("test/relay/resting.test.ts", "is noticed by %s that this relay saw, by the next poll"),
  },
  {
    name: "the relay's own beat is not compared",
    invariant: "I4",
    file: "protocol/lua/look.lua",
    find: "stored and stored < beat or not stored and now - beat < forget",
    replace: "false",
    test: system(
      "test/relay/resting.test.ts",
      "is noticed by the beat that it lost, where no head tells, and each tenant resynced once",
    ),
  },
  {
    name: "a loss makes a new generation of every one that it meets",
    invariant: "I4",
    file: "protocol/lua/adopt.lua",
    find: "if not reason and generation == lost then",
    replace: "if not reason and lost ~= '0' then",
    test: system(
      "test/relay/resting.test.ts",
      "is noticed where the beat is missing, and is resynced by one relay of two",
    ),
  },
  {
    name: "an empty read counts as level",
    invariant: "I4",
    file: "dispatch/lane.ts",
    find: "const isLevel = !head || (entries.length === 0 && isAt(head, held))",
    replace: "const isLevel = !head || entries.length === 0",
    test: node(
      "dispatch/lane.node.test.ts",
      "finds the newest entry missing though those before it are whole",
    ),
  },
  {
    name: "the numbers of entries are not compared",
    invariant: "I4",
    file: "dispatch/reading.ts",
    find: `if (entry.seq > seq + 1 || entry.seq <= handled) return "gap"`,
    replace: "",
    test: node(
      "dispatch/lane.node.test.ts",
      "goes by the mode of the configuration, %s, but no softer than what it could read",
    ),
  },
  {
    name: "a wake that is refused fails the publish (pcall order)",
    invariant: "I5",
    file: "protocol/lua/publish.lua",
    find: "redis.pcall('PUBLISH', channel, wakes[channel])",
    replace: "redis.call('PUBLISH', channel, wakes[channel])",
    test: system(
      "test/scripts/publish.test.ts",
      "that the publisher may not send cost nothing but their time: recorded once, and known on a retry",
    ),
  },
  {
    name: "the answer under a key is not remembered",
    invariant: "I5",
    file: "protocol/lua/publish.lua",
    find: "if fingerprint ~= '' then set(answer,",
    replace: "if false then set(answer,",
    test: system("test/scripts/publish.test.ts", "raced by 64 callers is one entry, and one answer"),
  },
  {
    name: "an entry that was not completed is taken for a gap",
    invariant: "I6",
    file: "dispatch/reading.ts",
    find: "entry.seq > seq + 1 || entry.seq <= handled",
    replace: "entry.seq !== seq + 1",
    test: node("dispatch/lane.node.test.ts", "that was refused and not taken back is no gap"),
  },
  {
    name: "a rule is content with what it could say",
    invariant: "I6",
    file: "worker/rules.ts",
    find: "if (lacking) return gathering.whole(likeness, `${lacking.where}: ${lacking.fault}`)",
    replace: "",
    test: node("worker/rules.test.ts", "widens the rule's own namespace, not the source's"),
  },
  {
    name: "what is merged is as hard as the first",
    invariant: "I6",
    file: "dispatch/plan.ts",
    find: `a === "purge" || b === "purge" ? "purge" : "invalidate"`,
    replace: "a",
    test: node("dispatch/plan.test.ts", "says one thing once, as hard as the hardest asked"),
  },
  {
    name: "a reserved tag is looked for before it is folded",
    invariant: "I6",
    file: "protocol/selector.ts",
    find: "!UNFOLDED.test(tag) && isOwnLabel(foldLabel(tag))",
    replace: "isOwnLabel(tag)",
    test: node("protocol/tags.test.ts", "%s is never told a label of ours by a tag"),
  },
  {
    name: "a tag that is a label of others is published",
    invariant: "I6",
    file: "dispatch/judge.ts",
    find: "if (stray.length === 0) return invalidation",
    replace: "return invalidation",
    test: node("dispatch/judge.test.ts", "refuses a tag that is a label of others, and names it"),
  },
  {
    name: "an account's bucket is never empty",
    invariant: "I7",
    file: "protocol/lua/pace.lua",
    find: "if tokens < wanted then",
    replace: "if false then",
    test: system("test/scripts/pace.test.ts", "is shared by all who use it"),
  },
  {
    name: "a namespace that was set aside is fresh until it is invalidated",
    invariant: "I8",
    file: "protocol/lua/aside.lua",
    find: "  e, hard = epoch, epoch",
    replace: "",
    test: node("dispatch/aside.node.test.ts", "is not fresh either where its relay ends in between"),
  },
  {
    name: "the stamp is taken after the origin was read",
    invariant: "I8",
    file: "client/making.ts",
    find: `      const { stamp } = await tidemark.begin(namespace, read)
      if (!stamp) end()
      const made = await attempt(visit)`,
    replace: `      const made = await attempt(visit)
      const { stamp } = await tidemark.begin(namespace, read)
      if (!stamp) end()`,
    test: node(
      "client/hono.test.ts",
      "that was read before an invalidation and stored after it is stale at once",
    ),
  },
  {
    name: "the half of a page that broke off is kept",
    invariant: "I8",
    file: "client/whole.ts",
    find: `      throw new CutShort("the body broke off", { cause })`,
    replace: "      return { done: true, value: undefined, cause }",
    test: pages("that breaks off is never a hit"),
  },
  {
    name: "generations are not compared by equality",
    invariant: "I8",
    file: "protocol/freshness.ts",
    find: "generation > 0 && stamp.generation === generation",
    replace: "generation > 0 || stamp.generation === generation",
    test: node(
      "protocol/freshness.test.ts",
      "is never what was invalidated in what the reader knew, and is all that was not",
    ),
  },
  {
    name: "what a reader was not told of tags counts as never changed",
    invariant: "I8",
    file: "client/memory.ts",
    find: "if (!continues) slot.knownSince = changed ? after : told.last",
    replace: "if (!continues) slot.knownSince = 0",
    test: node("client/epochs.test.ts", "tags again, where more changed than is told along"),
  },
  {
    name: "floors are not read once more after the tags",
    invariant: "I8",
    file: "protocol/lookup.ts",
    find: "Math.max(own.floor, parseNamespaceRow(asText(lateTexts[index])).floor)",
    replace: "own.floor",
    test: node("protocol/lookup.test.ts", "read floors once more after the tags, and only then"),
  },
  {
    name: "a wake does not raise the reader's mark",
    invariant: "I8",
    file: "client/tidemark.ts",
    find: "void epochs.hear({ generation, last: epoch })",
    replace: "void [generation, epoch]",
    test: node(
      "client/tidemark.test.ts",
      "makes what is held count for nothing but to say no, until the store was asked",
    ),
  },
  {
    name: "what is known is used for ever",
    invariant: "I9",
    file: "client/epochs.ts",
    find: `onStoreFailure === "serve-stale" && age + row.askedAt - row.asOf <= maxStale`,
    replace: `onStoreFailure === "serve-stale"`,
    test: node(
      "client/epochs.test.ts",
      "serves by what it knew until maxStale, then knows nothing and says so",
    ),
  },
  {
    name: "tags go without a bound",
    invariant: "I10",
    file: "protocol/lua/publish.lua",
    find: "TIDY + row.more)",
    replace: "all)",
    test: system(
      "test/scripts/publish.test.ts",
      "that are too old or too many go in steps, so that no publish waits for all of them",
    ),
  },
  {
    name: "a read counts entries and not their bytes",
    invariant: "I10",
    file: "protocol/lua/read.lua",
    find: "and bytes < maxBytes",
    replace: "",
    test: system("test/scripts/lane.test.ts", "stops by its bytes, without a gap, and never with nothing"),
  },
  {
    name: "the namespaces of a tenant are not counted",
    invariant: "I10",
    file: "protocol/lua/publish.lua",
    find: "then return {'tooMany'} end",
    replace: "then new = new end",
    test: system("test/scripts/publish.test.ts", "is bounded: one too many is refused, and nothing written"),
  },
  {
    name: "what was prepared for one visitor is kept with the page",
    invariant: "I11",
    file: "client/hono.ts",
    find: "if (isToBeKept) for (const name of Array.from(prepared.keys())) c.header(name, undefined)",
    replace: "",
    test: pages("is nowhere in another's answer, in random interleavings"),
  },
  {
    name: "a page is kept whatever name it was asked by",
    invariant: "I11",
    file: "client/page-key.ts",
    find: "origin, values, naming, version])",
    replace: "values, version])",
    test: pages("holds every name that it was asked by, whatever it is published as"),
  },
  {
    name: "a page with a nonce in it is kept",
    invariant: "I11",
    file: "client/whole.ts",
    find: "if (NONCE.test(text))",
    replace: "if (false)",
    test: pages("is nowhere in another's answer, in random interleavings"),
  },
]
