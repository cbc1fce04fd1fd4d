import { describe, expect, it } from "vitest"
import { cloudfront } from "./cloudfront.ts"
import { FakeCloudfront } from "../../test/fakes/cloudfront.ts"
import { describeTarget, FAST, NOW, sample, SHARED, soon, transportTo, valueOf } from "./conformance.ts"
import type { Batch, Kind, TargetConfigOf } from "./target.ts"

const DISTRIBUTION = "EDFDVBD6EXAMPLE"
const ADDRESS = `https://cloudfront.amazonaws.com/2020-05-31/distribution/${DISTRIBUTION}/invalidation`
const KEY = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" }
const MINUTE = 60_000

type Config = TargetConfigOf<"cloudfront">

const config = (more: Partial<Config> = {}): Config => ({
  type: "cloudfront",
  distribution: DISTRIBUTION,
  ...KEY,
  tags: true,
  completesIn: MINUTE,
  ...SHARED,
  ...more,
})

const driverOn = (fetch: typeof globalThis.fetch, more?: Partial<Config>) =>
  cloudfront.create(config(more), { fetch, now: () => NOW })

const account = (more: Partial<ConstructorParameters<typeof FakeCloudfront>[0]> = {}) =>
  new FakeCloudfront({
    distributions: [DISTRIBUTION],
    ...KEY,
    hasTags: true,
    completesIn: MINUTE,
    now: () => NOW,
    isUnlimited: true,
    ...more,
  })

const fault = (status: number, code: string, message = "In its own words.", headers: HeadersInit = {}) =>
  new Response(
    `<?xml version="1.0"?>
<ErrorResponse xmlns="http://cloudfront.amazonaws.com/doc/2020-05-31/"><Error><Type>Sender</Type><Code>${code}</Code><Message>${message}</Message></Error><RequestId>1</RequestId></ErrorResponse>`,
    { status, headers },
  )

describeTarget("cloudfront", () => ({
  create: driverOn,
  capabilities: cloudfront.capabilities({ type: "cloudfront", tags: true }),
  fake: account,
  unauthorised: () => fault(403, "AccessDenied"),
  refused: () => fault(400, "InvalidArgument"),
  requests: 1,
  secrets: Object.values(KEY),
}))

const batchOf = (kind: Kind, ...values: readonly string[]): Batch => ({
  ...FAST,
  mode: "purge",
  values: values.map((value) => valueOf(kind, value)),
})

async function sent(batch: Batch, more: Partial<Config> = {}) {
  const vendor = account(more.sessionToken === undefined ? {} : { sessionToken: more.sessionToken })
  const { fetch, received } = transportTo((request) =>
    more.endpoint === undefined ? vendor.handle(request) : made("I1"),
  )
  expect((await driverOn(fetch, more).purge(batch, soon())).outcome).toBe("accepted")
  expect(vendor.complaints).toEqual([])
  const [request] = received
  if (!request) throw new Error("nothing was sent")
  const paths = [...request.body.matchAll(/<Path>(.*?)<\/Path>/g)].map(([, path]) => path)
  return { ...request, headers: Object.fromEntries(request.headers), paths }
}

const made = (id: string, rest = "") =>
  new Response(
    `<?xml version="1.0"?><Invalidation xmlns="http://cloudfront.amazonaws.com/doc/2020-05-31/"><Id>${id}</Id><Status>InProgress</Status>${rest}</Invalidation>`,
    { status: 201 },
  )

const outcomeOf = (response: () => Response, of: Batch = sample("url", "purge")) =>
  driverOn(transportTo(response).fetch).purge(of, soon())

describe("what CloudFront is sent", () => {
  it("is one document a batch, whose id is its reference", async () => {
    const { method, url, headers, body } = await sent(
      batchOf("url", "https://a.example/x", "https://a.example/y?z=1&w"),
    )
    expect({ method, url, body }).toEqual({
      method: "POST",
      url: ADDRESS,
      body: `<?xml version="1.0" encoding="UTF-8"?>
<InvalidationBatch xmlns="http://cloudfront.amazonaws.com/doc/2020-05-31/"><CallerReference>b-1</CallerReference><Paths><Quantity>2</Quantity><Items><Path>/x</Path><Path>/y?z=1&amp;w</Path></Items></Paths></InvalidationBatch>`,
    })
    expect(headers).toEqual({
      "content-type": "application/xml",
      "x-amz-date": "20261120T120000Z",
      authorization: expect.stringMatching(
        /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/20261120\/us-east-1\/cloudfront\/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=[0-9a-f]{64}$/,
      ),
    })
  })

  it("signs for temporary credentials with their token", async () => {
    const { headers } = await sent(sample("url", "purge"), {
      sessionToken: "FwoGZXIvYXdzEJr//////////wEaDExample",
    })
    expect(headers["x-amz-security-token"]).toBe("FwoGZXIvYXdzEJr//////////wEaDExample")
    expect(headers["authorization"]).toContain(
      "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token,",
    )
  })

  it.each([
    ["url", ["https://www.example.com:8443/a?b=c"], ["/a?b=c"]],
    ["url", ["https://www.example.com/"], ["/"]],
    ["url", ["https://www.example.com/a", "https://api.example.com/a"], ["/a"]],
    ["url", ["https://h.example/ä b/[1]|~x?q={2}"], ["/%C3%A4%20b/%5B1%5D%7C%7Ex?q=%7B2%7D"]],
    ["url", ["https://h.example/a'b\"<c>"], ["/a'b%22%3Cc%3E"]],
    ["prefix", ["https://www.example.com/blog/"], ["/blog*"]],
    ["prefix", ["https://www.example.com/blog"], ["/blog*"]],
    ["prefix", ["https://www.example.com/"], ["/*"]],
    ["tag", ["post-1", "a&b;c>"], ["#post-1", "#a&amp;b;c&gt;"]],
    ["everything", ["*"], ["/*"]],
  ] as const)("names a %s as it is documented: %j", async (kind, values, paths) => {
    expect(
      (await sent(batchOf(kind, ...values.map((value) => (kind === "url" ? new URL(value).href : value)))))
        .paths,
    ).toEqual(paths)
  })

  it("covers with a prefix the page without the slash, and its queries", async () => {
    const vendor = account()
    const pages = ["/blog", "/blog?page=2", "/blog/", "/blog/a/b"].map((path) => `https://h.example${path}`)
    for (const page of pages) vendor.cache.visit(page)
    vendor.cache.visit("https://h.example/other")
    const { fetch } = transportTo((request) => vendor.handle(request))
    await driverOn(fetch).purge(batchOf("prefix", "https://h.example/blog/"), soon())
    expect(pages.map((page) => vendor.cache.visit(page).version)).toEqual([2, 2, 2, 2])
    expect(vendor.cache.visit("https://h.example/other").how).toBe("hit")
  })

  it("goes to another base address where one is configured, and signs for its host", async () => {
    const { url, headers } = await sent(sample("url", "purge"), { endpoint: "http://127.0.0.1:9000/aws/" })
    expect(url).toBe(`http://127.0.0.1:9000/aws/2020-05-31/distribution/${DISTRIBUTION}/invalidation`)
    const { headers: direct } = await sent(sample("url", "purge"))
    expect(headers["authorization"]).not.toBe(direct["authorization"])
  })

  it("is a tag only where the distribution reads them", async () => {
    expect(cloudfront.capabilities({ type: "cloudfront" }).kinds).not.toHaveProperty("tag")
    const { fetch, received } = transportTo(() => made("I1"))
    const outcome = await driverOn(fetch, { tags: false }).purge(sample("tag", "purge"), soon())
    expect(outcome).toEqual({ outcome: "unsupported", detail: "it cannot purge by tag" })
    expect(received).toEqual([])
  })
})

const KEYS = ["accessKeyId", "secretAccessKey", "sessionToken"]

describe("what CloudFront answers", () => {
  it("keeps its id of an invalidation, and is answered the same for the same batch", async () => {
    const vendor = account()
    const driver = driverOn(transportTo((request) => vendor.handle(request)).fetch)
    const first = await driver.purge(sample("url", "purge", 3), soon())
    expect(first).toEqual({ outcome: "accepted", status: 201, vendorId: "I1JQ3EXAMPLE" })
    expect(await driver.purge(sample("url", "purge", 3), soon())).toEqual(first)
    expect(vendor.taken).toEqual([3])
  })

  it("is read as far as its id, however long what it repeats is", async () => {
    const rest = `<InvalidationBatch>${"<Path>/a</Path>".repeat(20_000)}</InvalidationBatch>`
    expect(await outcomeOf(() => made("I2", rest))).toEqual({
      outcome: "accepted",
      status: 201,
      vendorId: "I2",
    })
  })

  it.each(["", "<html>", "{}", "<Invalidation><Id>"])(
    "is not understood with a 201 and the body %j",
    async (text) => {
      expect(await outcomeOf(() => new Response(text, { status: 201 }))).toMatchObject({
        outcome: "trouble",
        status: 201,
      })
    },
  )

  it.each([
    [400, "TooManyInvalidationsInProgress"],
    [400, "Throttling"],
    [400, "ThrottlingException"],
    [429, "TooManyRequestsException"],
    [500, "InternalFailure"],
    [503, "ServiceUnavailable"],
  ])("waits 25 s after %d %s", async (status, code) => {
    expect(await outcomeOf(() => fault(status, code))).toEqual({
      outcome: "trouble",
      status,
      detail: `cloudfront.amazonaws.com answered ${status}: ${code} In its own words.`,
      retryAfter: 25_000,
    })
    const asked = () => fault(status, code, "Slow down.", { "retry-after": "7" })
    expect(await outcomeOf(asked)).toMatchObject({ outcome: "trouble", retryAfter: 7_000 })
  })

  it.each([
    [403, "AccessDenied", ["distribution", ...KEYS]],
    [403, "SignatureDoesNotMatch", KEYS],
    [403, "InvalidClientTokenId", KEYS],
    [400, "IncompleteSignature", KEYS],
    [400, "ExpiredToken", KEYS],
    [404, "NoSuchDistribution", ["distribution"]],
  ])("gives nothing up after %d %s", async (status, code, mend) => {
    expect(await outcomeOf(() => fault(status, code, "User: a &lt;b&gt; &amp;amp; c"))).toEqual({
      outcome: "unauthorised",
      status,
      detail: `cloudfront.amazonaws.com answered ${status}: ${code} User: a <b> &amp; c`,
      mend,
    })
  })

  it("pauses where the distribution is another account's, or nobody's", async () => {
    const { fetch } = transportTo((request) => account().handle(request))
    const outcome = await driverOn(fetch, { distribution: "E000" }).purge(sample("url", "purge"), soon())
    expect(outcome).toMatchObject({ outcome: "unauthorised", status: 404 })
  })

  it.each([
    [400, "InvalidArgument"],
    [400, "InconsistentQuantities"],
    [400, "InvalidationBatchAlreadyExists"],
    [413, "BatchTooLarge"],
  ])("has the batch cut after %d %s", async (status, code) => {
    expect(await outcomeOf(() => fault(status, code))).toMatchObject({ outcome: "refused", status })
  })

  it("repeats no secret that it echoes", async () => {
    const { accessKeyId, secretAccessKey } = KEY
    const outcome = await outcomeOf(() =>
      fault(403, "SignatureDoesNotMatch", `${accessKeyId} ${secretAccessKey}`),
    )
    expect(outcome).toMatchObject({
      detail: "cloudfront.amazonaws.com answered 403: SignatureDoesNotMatch [secret] [secret]",
    })
  })

  it.each([{ secretAccessKey: "another" }, { accessKeyId: "AKIDOTHER" }, { sessionToken: "another" }])(
    "does not take other credentials: %j",
    async (more) => {
      const { fetch } = transportTo((request) => account().handle(request))
      expect(await driverOn(fetch, more).purge(sample("url", "purge"), soon())).toMatchObject({
        outcome: "unauthorised",
        status: 403,
      })
    },
  )
})

describe("the pace of CloudFront", () => {
  it("is what a distribution may have in progress", () => {
    expect(cloudfront.pace(config({ completesIn: 90_000, timeout: 7_000 }))).toEqual([
      {
        limit: "inProgress",
        bucket: `paths:${DISTRIBUTION}`,
        kinds: ["url", "tag"],
        per: "value",
        most: 3_000,
        lasting: 97_000,
      },
      {
        limit: "inProgress",
        bucket: `wildcards:${DISTRIBUTION}`,
        kinds: ["prefix", "everything"],
        per: "value",
        most: 15,
        lasting: 97_000,
      },
    ])
  })

  it("is also what may be spent in a month, where that is configured", () => {
    expect(cloudfront.pace(config({ maxPathsPerMonth: 1_000 })).at(-1)).toEqual({
      limit: "budget",
      bucket: "paths",
      kinds: ["url", "tag", "prefix", "everything"],
      perMonth: 1_000,
    })
    expect(cloudfront.capabilities({ type: "cloudfront" }).dollarsPerValue).toBe(0.005)
  })

  it("lets no call be larger than what may be in progress", () => {
    const { kinds } = cloudfront.capabilities({ type: "cloudfront", tags: true })
    for (const pace of cloudfront.pace(config())) {
      for (const kind of pace.kinds)
        expect(pace.limit === "inProgress" && pace.most).toBeGreaterThanOrEqual(kinds[kind]?.batch ?? 0)
    }
  })

  it("is told by the fake as by the vendor: 15 wildcards in progress and no more", async () => {
    let now = NOW
    const vendor = account({ isUnlimited: false, now: () => now })
    const driver = cloudfront.create(config(), {
      fetch: transportTo((request) => vendor.handle(request)).fetch,
      now: () => now,
    })
    const of = (kind: Kind, count: number, id: string) =>
      driver.purge({ ...sample(kind, "purge", count), id }, soon())
    expect((await of("prefix", 15, "a")).outcome).toBe("accepted")
    expect(await of("everything", 1, "b")).toMatchObject({
      outcome: "trouble",
      status: 400,
      retryAfter: 25_000,
    })
    expect((await of("url", 1_000, "c")).outcome).toBe("accepted")
    now += MINUTE
    expect((await of("everything", 1, "b")).outcome).toBe("accepted")
    expect(vendor.limited).toBe(1)
  })
})

describe("its configuration", () => {
  it.each([
    ["accessKeyId", "AKI D"],
    ["secretAccessKey", ""],
    ["secretAccessKey", "naïve"],
    ["sessionToken", "line\nbreak"],
  ])("refuses a bad %s without repeating it", (name, value) => {
    const create = () => driverOn(transportTo(() => made("I1")).fetch, { [name]: value })
    expect(create).toThrow(TypeError)
    expect(create).toThrow(new RegExp(`^${name} `))
    if (value !== "") expect(create).not.toThrow(value)
  })
})
