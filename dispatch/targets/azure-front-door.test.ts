import { describe, expect, it } from "vitest"
import { FakeAzureFrontDoor } from "../../test/fakes/azure-front-door.ts"
import { azureFrontDoor } from "./azure-front-door.ts"
import {
  describeTarget,
  FAST,
  NOW,
  type Received,
  sample,
  SHARED,
  soon,
  transportTo,
  valueOf,
  type Vendor,
} from "./conformance.ts"
import type { Batch, Kind, TargetConfigOf } from "./target.ts"

const TOKEN = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9-"
const SECRET = "Zq8~vJw2mXr5tYh1kLp9sBn4dCg7fAe3u"
const PLACE = {
  subscription: "00000000-1111-2222-3333-444444444444",
  resourceGroup: "RG_(www)",
  profile: "profile1",
  endpointName: "endpoint1",
}
const CLIENT = { directory: "contoso.onmicrosoft.com", clientId: "11112222-bbbb-3333-cccc-4444dddd5555" }
const ADDRESS =
  "https://management.azure.com/subscriptions/00000000-1111-2222-3333-444444444444/resourceGroups/RG_(www)/providers/Microsoft.Cdn/profiles/profile1/afdEndpoints/endpoint1/purge?api-version=2023-05-01"
const OPERATION = "https://management.azure.com/operations/7"

type Config = TargetConfigOf<"azure-front-door">

const config = (more: Partial<Config> = {}): Config => ({
  type: "azure-front-door",
  ...PLACE,
  ...CLIENT,
  clientSecret: SECRET,
  ...SHARED,
  ...more,
})

const driverOn = (fetch: typeof globalThis.fetch, more?: Partial<Config>, now = () => NOW) =>
  azureFrontDoor.create(config(more), { fetch, now })

const endpoint = (more: Partial<ConstructorParameters<typeof FakeAzureFrontDoor>[0]> = {}) =>
  new FakeAzureFrontDoor({
    ...PLACE,
    ...CLIENT,
    clientSecret: SECRET,
    token: TOKEN,
    looks: 2,
    now: () => NOW,
    isUnlimited: true,
    ...more,
  })

const isToken = ({ url }: Received) => url.startsWith("https://login.microsoftonline.com/")
const isLook = ({ method }: Received) => method === "GET"

const fault = (status: number, code: string, message = "In its own words.", headers: HeadersInit = {}) =>
  Response.json({ error: { code, message } }, { status, headers })

describeTarget("azure-front-door", () => ({
  create: driverOn,
  capabilities: azureFrontDoor.capabilities({ type: "azure-front-door" }),
  fake: endpoint,
  unauthorised: () => fault(403, "AuthorizationFailed"),
  refused: () => fault(400, "BadRequest"),
  requests: 1,
  isAside: (request) => isToken(request) || isLook(request),
  secrets: [TOKEN, SECRET],
}))

const batchOf = (kind: Kind, ...values: readonly string[]): Batch => ({
  ...FAST,
  mode: "purge",
  values: values.map((value) => valueOf(kind, value)),
})

/** A vendor that gives tokens, and answers all else by `answer`. */
function stage(answer?: Vendor) {
  const vendor = endpoint()
  const transport = transportTo((request) =>
    answer && !isToken(request) ? answer(request) : vendor.handle(request),
  )
  const purges = () => transport.received.filter((request) => !isToken(request) && !isLook(request))
  const looks = () => transport.received.filter(isLook)
  return { vendor, transport, purges, looks, fetch: transport.fetch }
}

const outcomeOf = (answer: Vendor, of: Batch = sample("url", "purge")) =>
  driverOn(stage(answer).fetch).purge(of, soon())

describe("what Azure is sent", () => {
  it("is paths of a domain, with a token", async () => {
    const { fetch, purges, transport } = stage()
    const batch = batchOf("url", "https://www.example.com/a?b=c", "https://www.example.com/d%20e")
    await driverOn(fetch).purge(batch, soon())
    const [request] = purges()
    expect({ ...request, headers: Object.fromEntries(request?.headers ?? []) }).toEqual({
      method: "POST",
      url: ADDRESS,
      headers: { authorization: `Bearer ${TOKEN}1`, "content-type": "application/json" },
      body: '{"contentPaths":["/a","/d%20e"],"domains":["www.example.com"]}',
    })
    const [asked] = transport.received
    expect(asked?.url).toBe("https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token")
    expect(Object.fromEntries(new URLSearchParams(asked?.body))).toEqual({
      grant_type: "client_credentials",
      client_id: CLIENT.clientId,
      client_secret: SECRET,
      scope: "https://management.azure.com/.default",
    })
  })

  it.each([
    ["url", ["https://h.example:8443/a?b", "https://h.example:8443/a?c"], ["/a"], ["h.example"]],
    ["prefix", ["https://h.example/blog/"], ["/blog", "/blog/*"], ["h.example"]],
    ["prefix", ["https://h.example/a/b"], ["/a/b", "/a/b/*"], ["h.example"]],
    ["prefix", ["https://h.example/"], ["/*"], ["h.example"]],
    ["host", ["a.example", "b.example:8443"], ["/*"], ["a.example", "b.example"]],
    ["everything", ["*"], ["/*"], undefined],
  ] as const)("names a %s as it is documented: %j", async (kind, values, contentPaths, domains) => {
    const { fetch, purges, vendor } = stage()
    expect((await driverOn(fetch).purge(batchOf(kind, ...values), soon())).outcome).toBe("accepted")
    expect(JSON.parse(purges()[0]?.body ?? "")).toEqual({ contentPaths, ...(domains ? { domains } : {}) })
    expect(vendor.complaints).toEqual([])
  })

  it("covers with a prefix the page without the slash", async () => {
    const { fetch, vendor } = stage()
    const pages = ["/blog", "/blog?page=2", "/blog/", "/blog/a/b"].map((path) => `https://h.example${path}`)
    const others = ["https://h.example/blogger", "https://other.example/blog/a"]
    for (const page of [...pages, ...others]) vendor.cache.visit(page)
    await driverOn(fetch).purge(batchOf("prefix", "https://h.example/blog/"), soon())
    expect(pages.map((page) => vendor.cache.visit(page).version)).toEqual([2, 2, 2, 2])
    expect(others.map((page) => vendor.cache.visit(page).how)).toEqual(["hit", "hit"])
  })

  it("goes to other base addresses where they are configured", async () => {
    const { fetch, received } = transportTo((request) =>
      request.url.includes("/login/") ? Response.json({ access_token: "t", expires_in: 60 }) : new Response(),
    )
    const more = { endpoint: "http://127.0.0.1:9000/arm/", authority: "http://127.0.0.1:9000/login/" }
    expect((await driverOn(fetch, more).purge(sample("url", "purge"), soon())).outcome).toBe("accepted")
    expect(received.map(({ url }) => url)).toEqual([
      "http://127.0.0.1:9000/login/contoso.onmicrosoft.com/oauth2/v2.0/token",
      expect.stringMatching(
        /^http:\/\/127\.0\.0\.1:9000\/arm\/subscriptions\/.*\/purge\?api-version=2023-05-01$/,
      ),
    ])
  })
})

describe("the access token", () => {
  it("is asked for once by calls at the same time, and again once it was not taken", async () => {
    let isTaken = true
    const { fetch, vendor } = stage(() =>
      isTaken ? new Response() : fault(401, "ExpiredAuthenticationToken"),
    )
    const driver = driverOn(fetch)
    await Promise.all(Array.from({ length: 20 }, () => driver.purge(sample("url", "purge"), soon())))
    expect(vendor.tokens).toBe(1)
    isTaken = false
    expect((await driver.purge(sample("url", "purge"), soon())).outcome).toBe("unauthorised")
    isTaken = true
    expect((await driver.purge(sample("url", "purge"), soon())).outcome).toBe("accepted")
    expect(vendor.tokens).toBe(2)
  })

  it.each([
    ["clientSecret", "another", 401, "invalid_client: AADSTS7000215"],
    ["clientId", "another", 400, "unauthorized_client: AADSTS700016"],
    ["directory", "another", 400, "invalid_request: AADSTS90002"],
  ])("is not given to another %s, which pauses the lane", async (name, value, status, words) => {
    const { fetch, purges } = stage()
    const outcome = await driverOn(fetch, { [name]: value }).purge(sample("url", "purge"), soon())
    expect(outcome).toMatchObject({ outcome: "unauthorised", status, detail: expect.stringContaining(words) })
    expect(purges()).toEqual([])
  })
})

describe("what Azure answers", () => {
  it("keeps the id of the request, and says what is left", async () => {
    const vendor = endpoint({ isUnlimited: false, looks: 0 })
    const { fetch } = transportTo((request) => vendor.handle(request))
    expect(await driverOn(fetch).purge(sample("url", "purge"), soon())).toEqual({
      outcome: "accepted",
      status: 200,
      vendorId: "request-1",
      left: [{ bucket: "calls", tokens: 199 }],
    })
    const limited = () =>
      fault(429, "TooManyRequests", "No.", {
        "retry-after": "17",
        "x-ms-ratelimit-remaining-subscription-writes": "0",
      })
    expect(await outcomeOf(limited)).toEqual({
      outcome: "trouble",
      status: 429,
      detail: "management.azure.com answered 429: TooManyRequests No.",
      retryAfter: 17_000,
      left: [{ bucket: "calls", tokens: 0 }],
    })
  })

  it.each([
    [409, "Conflict"],
    [409, "AnotherOperationInProgress"],
    [400, "TooManyRequests"],
    [400, "OperationThrottled"],
    [500, "InternalServerError"],
    [503, "ServiceUnavailable"],
  ])("means a passing matter by %d %s", async (status, code) => {
    expect(await outcomeOf(() => fault(status, code))).toEqual({
      outcome: "trouble",
      status,
      detail: `management.azure.com answered ${status}: ${code} In its own words.`,
    })
  })

  it.each([
    [401, "InvalidAuthenticationToken"],
    [403, "AuthorizationFailed"],
    [404, "ResourceNotFound"],
    [404, "SubscriptionNotFound"],
  ])("gives nothing up after %d %s", async (status, code) => {
    expect(await outcomeOf(() => fault(status, code))).toMatchObject({ outcome: "unauthorised", status })
  })

  it.each(Object.keys(PLACE))("pauses where the %s is another", async (name) => {
    const { fetch } = stage()
    const outcome = await driverOn(fetch, { [name]: "another" }).purge(sample("url", "purge"), soon())
    expect(outcome).toMatchObject({ outcome: "unauthorised", status: 404 })
  })

  it("has a batch refused in its own words", async () => {
    expect(await outcomeOf(() => fault(400, "BadRequest", `No ${SECRET} ${TOKEN}1`))).toEqual({
      outcome: "refused",
      status: 400,
      detail: "management.azure.com answered 400: BadRequest No [secret] [secret]",
    })
  })

  it("bears errors of any form, and gives nothing up for one that is not its own", async () => {
    for (const error of [null, "no", 7, { code: {}, message: [] }])
      expect((await outcomeOf(() => Response.json({ error }, { status: 400 }))).outcome).toBe("trouble")
  })
})

describe("an operation that is under way", () => {
  const taken = (headers: Record<string, string> = {}) =>
    new Response(null, {
      status: 202,
      headers: { location: OPERATION, "retry-after": "0", "x-ms-request-id": "r-1", ...headers },
    })
  const ACCEPTED = { outcome: "accepted", status: 202, vendorId: "r-1" }

  /** A purge that is taken, then looked at by what is answered in turn; the last of it for good. */
  async function looked(...answers: readonly (() => Response | Promise<Response>)[]) {
    let nth = 0
    const { fetch, looks, purges } = stage((request) => {
      if (!isLook(request)) return taken()
      nth += 1
      return (answers[nth - 1] ?? answers.at(-1) ?? taken)()
    })
    const outcome = await driverOn(fetch).purge(sample("url", "purge"), soon())
    expect(purges()).toHaveLength(1)
    return { outcome, looks: looks() }
  }

  it("is looked at until it is done", async () => {
    const { outcome, looks } = await looked(taken, () => new Response(null, { status: 200 }))
    expect(outcome).toEqual(ACCEPTED)
    expect(looks.map(({ url, headers }) => [url, headers.get("authorization")])).toEqual([
      [OPERATION, `Bearer ${TOKEN}1`],
      [OPERATION, `Bearer ${TOKEN}1`],
    ])
  })

  it("is looked at a few times and no more, as Azure took it", async () => {
    const { outcome, looks } = await looked(taken)
    expect(outcome).toEqual(ACCEPTED)
    expect(looks).toHaveLength(4)
  })

  it.each(["InProgress", "Running", "Accepted"])("is under way as %s too", async (status) => {
    const { outcome, looks } = await looked(() =>
      Response.json({ status }, { headers: { "retry-after": "0" } }),
    )
    expect([outcome, looks.length]).toEqual([ACCEPTED, 4])
  })

  it.each([
    ["Failed", "BadRequest", "refused"],
    ["Failed", "InternalServerError", "trouble"],
    ["Failed", "TooManyRequests", "trouble"],
    ["Canceled", "", "trouble"],
  ])("that ends as %s %s is %s", async (status, code, expected) => {
    const { outcome } = await looked(() =>
      Response.json({ status, error: { code, message: `No ${SECRET}` } }),
    )
    expect(outcome).toMatchObject({ outcome: expected, status: 200 })
    expect(outcome).toMatchObject({
      detail: expect.stringMatching(/^management\.azure\.com took it, and then: /),
    })
    expect(JSON.stringify(outcome)).not.toContain(SECRET)
  })

  it.each([
    [400, "BadRequest", "refused"],
    [409, "Conflict", "trouble"],
    [500, "InternalServerError", "trouble"],
  ])("that ends by %d %s is %s", async (status, code, expected) => {
    expect((await looked(() => fault(status, code))).outcome).toMatchObject({ outcome: expected, status })
  })

  it.each([302, 401, 403, 404, 408, 429])("that may not be looked at, %d, was taken", async (status) => {
    const { outcome, looks } = await looked(() => fault(status, "No"))
    expect([outcome, looks.length]).toEqual([ACCEPTED, 1])
  })

  it("that nobody answers about was taken", async () => {
    const { outcome } = await looked(() => Promise.reject(new TypeError("fetch failed")))
    expect(outcome).toEqual(ACCEPTED)
  })

  it.each([
    ["at another host", { location: "https://elsewhere.example/operations/7" }],
    ["by another scheme", { location: "http://management.azure.com/operations/7" }],
    ["nowhere", { location: "operations" }],
    ["later than the attempt lasts", { "retry-after": "15" }],
  ])("is not looked at %s", async (_, headers) => {
    const { fetch, looks } = stage((request) => (isLook(request) ? new Response() : taken(headers)))
    const lasting = new AbortController().signal
    expect(await driverOn(fetch).purge(sample("url", "purge"), lasting)).toEqual(ACCEPTED)
    expect(looks()).toEqual([])
  })

  it("is looked at where it says first, and waited for no longer than the signal lasts", async () => {
    const { fetch, looks } = stage((request) =>
      isLook(request) ? new Promise(() => {}) : taken({ "azure-asyncoperation": `${OPERATION}/status` }),
    )
    const attempt = new AbortController()
    const outcome = driverOn(fetch).purge(sample("url", "purge"), attempt.signal)
    await expect.poll(() => looks().map(({ url }) => url)).toEqual([`${OPERATION}/status`])
    attempt.abort()
    expect(await outcome).toEqual(ACCEPTED)
  })
})

describe("the pace of Azure", () => {
  it("is ours, and every kind draws from it", () => {
    const [pace, ...more] = azureFrontDoor.pace(config())
    expect(pace).toEqual({
      limit: "rate",
      bucket: "calls",
      kinds: ["url", "prefix", "host", "everything"],
      per: "call",
      perSecond: 1,
      burst: 20,
    })
    expect(more).toEqual([])
  })

  it("lets no call have more than a hundred paths, of one host", () => {
    const { kinds, oneHost } = azureFrontDoor.capabilities({ type: "azure-front-door" })
    expect([kinds.url?.batch, (kinds.prefix?.batch ?? 0) * 2, oneHost]).toEqual([100, 100, true])
  })
})

describe("its configuration", () => {
  it("refuses an empty secret, and addresses with credentials", () => {
    expect(() => driverOn(stage().fetch, { clientSecret: "" })).toThrow(/^clientSecret /)
    for (const name of ["endpoint", "authority"]) {
      expect(() => driverOn(stage().fetch, { [name]: "https://a:hunter2@proxy.example/" })).toThrow(
        new RegExp(`^${name} (?!.*hunter2)`),
      )
    }
  })
})
