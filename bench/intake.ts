/**
 * `npm run bench:intake`: publishes and signed webhooks, from the request to its answer, at Tidemark's Worker beside bare
 * routes of Hono's that check nothing and make the same call to Redis through the same gateway, all on raw workerd; what
 * a full request does to the others; and how many subrequests a publish takes. Ratios count; absolute times are this
 * machine's.
 */
import { once } from "node:events"
import { createServer, request } from "node:http"
import type { AddressInfo } from "node:net"
import { setTimeout as delay } from "node:timers/promises"
import { Pool } from "undici"
import type { TopLevelSpec } from "vega-lite"
import { contentfulPublish } from "../cli/demo/webhook.ts"
import type { ConfigInput } from "../protocol/config/schema.ts"
import { MAX_SELECTORS } from "../protocol/invalidation.ts"
import { publishScript } from "../protocol/scripts.gen.ts"
import { hashToken, newToken } from "../protocol/tokens.ts"
import { type Aim, type Table, writeResults } from "./support/results.ts"
import { type Contender, inTurns, line, ROUNDS } from "./support/rounds.ts"
import { bundled, onStage, type Served, type Stage, versionsOf } from "./support/stage.ts"
import { figure, median, quantile, ratios, spread } from "./support/statistics.ts"

const KINDS = ["publish", "webhook"] as const
type Kind = (typeof KINDS)[number]

interface Load {
  /** Each sends its next request once the one before is answered. */
  readonly connections: number
  readonly count: number
}

const BUSY: Load = { connections: 64, count: 3_000 }
const LOADS: readonly Load[] = [{ connections: 1, count: 400 }, BUSY, { connections: 500, count: 3_000 }]
/** What runs on V8, the Workers and the gateway, gains as it is compiled. */
const WARM_UP: Load = { connections: 64, count: 2_000 }
/** Requests of either kind whose subrequests are counted. */
const COUNTED = 100
/** Milliseconds in which a subrequest that was made after the answer would arrive. */
const AFTERWARDS = 200

const PUBLISHES = "/v1/invalidations"
const HOOK = "/v1/hooks/cms"
const SECRET = "c".repeat(64)

const OURS = "Tidemark's Worker"
const BARE = "bare Hono"
const ROUTES = [OURS, BARE] as const
type RouteName = (typeof ROUTES)[number]

const FIGURES = ["a second", "p50", "p99"] as const
type Figure = (typeof FIGURES)[number]
/** Latencies in milliseconds. */
type Round = Readonly<Record<Figure, number>>

interface Message {
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

interface Route extends Contender {
  readonly name: RouteName
  readonly kind: Kind
  readonly origin: string
  readonly path: string
}

interface Measured {
  readonly kind: Kind
  readonly load: Load
  readonly rounds: ReadonlyMap<string, readonly Round[]>
}

interface Crowd extends Contender {
  readonly route: Route
  readonly beside: boolean
}

interface CrowdRound extends Round {
  readonly "full requests a second": number
}

interface Subrequests {
  readonly kind: Kind
  readonly sent: number
  readonly subrequests: number
}

const token = newToken()
const publishHeaders = { authorization: `Bearer ${token}`, "content-type": "application/json" }

/** Accepted by whoever answered, to be compared with the logs. */
const accepted: Record<RouteName, number> = { [OURS]: 0, [BARE]: 0 }

let made = 0

/** None is like another, and all are made, and signed, before a clock starts: that is the sender's work. */
const messagesOf = (kind: Kind, count: number): Message[] =>
  Array.from({ length: count }, () => {
    made += 1
    return kind === "webhook"
      ? contentfulPublish(SECRET, HOOK, `entry-${made}`, made, Date.now())
      : { headers: publishHeaders, body: JSON.stringify({ namespace: "blog", tags: [`post-${made}`] }) }
  })

const FULL: Message = {
  headers: publishHeaders,
  body: JSON.stringify({
    namespace: "blog",
    tags: Array.from({ length: MAX_SELECTORS }, (_, nth) => `page-${nth}`),
  }),
}

/** @throws when the answer is any other than that it was accepted */
async function send(pool: Pool, { name, kind, path }: Route, message: Message): Promise<void> {
  const { statusCode, body } = await pool.request({ path, method: "POST", ...message })
  const text = await body.text()
  const isAccepted =
    kind === "publish"
      ? statusCode === 202
      : statusCode === 200 && (JSON.parse(text) as { accepted: number }).accepted === 1
  if (!isAccepted) throw new Error(`${name}: a ${kind} was answered ${statusCode}: ${text}`)
  accepted[name] += 1
}

async function withPool<T>(
  { origin }: Route,
  connections: number,
  work: (pool: Pool) => Promise<T>,
): Promise<T> {
  const pool = new Pool(origin, { connections })
  try {
    return await work(pool)
  } finally {
    await pool.destroy()
  }
}

const measure = (route: Route, { connections, count }: Load): Promise<Round> =>
  withPool(route, connections, async (pool) => {
    const [opening, messages] = [connections, count].map((size) => messagesOf(route.kind, size).values())
    const latencies: number[] = []
    // Connecting is not what is measured.
    await Promise.all(Array.from(opening ?? [], (message) => send(pool, route, message)))
    const began = performance.now()
    const work = async (): Promise<void> => {
      // All take from one iterator.
      for (const message of messages ?? []) {
        const start = performance.now()
        await send(pool, route, message)
        latencies.push(performance.now() - start)
      }
    }
    await Promise.all(Array.from({ length: connections }, work))
    return {
      "a second": count / ((performance.now() - began) / 1_000),
      p50: median(latencies),
      p99: quantile(latencies, 0.99),
    }
  })

async function measureCrowd({ route, beside }: Crowd, load: Load): Promise<CrowdRound> {
  if (!beside) return { ...(await measure(route, load)), "full requests a second": 0 }
  return withPool(route, 1, async (pool) => {
    const over = new AbortController()
    let sent = 0
    const began = performance.now()
    const full = async (): Promise<number> => {
      for (; !over.signal.aborted; sent += 1) await send(pool, route, FULL)
      return sent / ((performance.now() - began) / 1_000)
    }
    const ordinary = measure(route, load).finally(() => over.abort())
    const [round, rate] = await Promise.all([ordinary, full()])
    return { ...round, "full requests a second": rate }
  })
}

const configOf = (tokenHash: string): ConfigInput => ({
  tokens: [{ name: "bench", sha256: tokenHash, scopes: ["publish:*"] }],
  namespaces: { blog: {} },
  sources: {
    cms: { type: "contentful", secret: { secret: "CMS_SECRET" }, namespace: "blog", secondPass: "0" },
  },
})

const ourRoutes = ({ url: origin }: { readonly url: string }): Route[] => [
  { name: OURS, kind: "publish", origin, path: PUBLISHES },
  { name: OURS, kind: "webhook", origin, path: HOOK },
]

async function bareRoutes(stage: Stage, gateway: Served): Promise<Route[]> {
  const start = async (kind: Kind, path: string): Promise<Route> => {
    const { url } = await stage.worker(await bundled(path), {
      REST_URL: gateway.url,
      REST_TOKEN: gateway.token,
      SHA1: publishScript.sha1,
    })
    return { name: BARE, kind, origin: url, path: "/" }
  }
  return [await start("publish", "bench/bare/hono.ts"), await start("webhook", "bench/bare/hook.ts")]
}

/** Stands before the gateway and counts what passes. */
async function startCounter(stage: Stage, gateway: Served) {
  let seen = 0
  const server = createServer((asked, answer) => {
    seen += 1
    const { url = "/", method = "GET", headers } = asked
    const passedOn = request(new URL(url, gateway.url), { method, headers }, (given) => {
      answer.writeHead(given.statusCode ?? 502, given.headers)
      given.pipe(answer)
    })
    asked.pipe(passedOn)
  }).listen(0, "127.0.0.1")
  await once(server, "listening")
  stage.onClose(() => server.close().closeAllConnections())
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen: () => seen }
}

/** On a Worker of its own, as the counter costs time. */
async function countSubrequests(stage: Stage, config: ConfigInput, gateway: Served): Promise<Subrequests[]> {
  const counter = await startCounter(stage, gateway)
  const worker = await stage.tidemarkWorker(config, { ...gateway, url: counter.url }, { CMS_SECRET: SECRET })
  const counted: Subrequests[] = []
  for (const route of ourRoutes(worker)) {
    const before = counter.seen()
    await withPool(route, 1, async (pool) => {
      for (const message of messagesOf(route.kind, COUNTED)) await send(pool, route, message)
    })
    await delay(AFTERWARDS)
    counted.push({ kind: route.kind, sent: COUNTED, subrequests: counter.seen() - before })
  }
  return counted
}

async function main(stage: Stage): Promise<void> {
  line("starting redis, gateway and Workers on workerd …")
  const redis = await stage.redis()
  const client = await stage.client(redis.url)
  // The bare routes name the script by its digest alone.
  await client.scriptLoad(publishScript.text)
  const gateway = await stage.gateway(redis.url)
  const config = configOf(await hashToken(token))
  const worker = await stage.tidemarkWorker(config, gateway, { CMS_SECRET: SECRET })
  const routes = [...ourRoutes(worker), ...(await bareRoutes(stage, gateway))]
  const routesOf = (kind: Kind) => routes.filter((route) => route.kind === kind)
  const crowds = routesOf("publish").flatMap((route) =>
    [false, true].map((beside): Crowd => ({ name: crowdName(route.name, beside), route, beside })),
  )

  for (const kind of KINDS) {
    await inTurns(`${kind}: warm-up`, routesOf(kind), (route) => measure(route, WARM_UP), 1)
  }
  const measured: Measured[] = []
  for (const kind of KINDS) {
    for (const load of LOADS) {
      const what = `${kind}, ${load.connections} connections`
      const rounds = await inTurns(what, routesOf(kind), (route) => measure(route, load))
      measured.push({ kind, load, rounds })
    }
  }
  const crowding = crowds.filter(({ beside }) => beside)
  await inTurns("beside full requests: warm-up", crowding, (crowd) => measureCrowd(crowd, WARM_UP), 1)
  const crowded = await inTurns("beside full requests", crowds, (crowd) => measureCrowd(crowd, BUSY))
  line("counting subrequests …")
  const subrequests = await countSubrequests(stage, config, gateway)

  for (const [name, log] of [
    [OURS, "tm:{default}:log"],
    [BARE, "tm:{bare}:log"],
  ] as const) {
    const logged = await client.xLen(log)
    if (logged !== accepted[name])
      throw new Error(`${name}: ${accepted[name]} were accepted, ${logged} are in the log`)
  }
  const info = await client.info("server")
  await writeResults({
    name: "intake",
    settings: {
      rounds: ROUNDS,
      loads: LOADS,
      warmUp: WARM_UP,
      versions: {
        ...versionsOf("workerd", "hono", "redis", "undici"),
        "redis-server": /^redis_version:(\S+)/m.exec(info)?.[1],
      },
      clock: "starts when a request is handed to its open connection, ends when its answer is read",
      routes: {
        [OURS]: "bundled and minified as deployed; publishes by token, webhooks of Contentful's, signed",
        [BARE]:
          "bench/bare/hono.ts and bench/bare/hook.ts, minified: they check nothing, and have the script remember no key",
      },
      full: `one connection more, ${MAX_SELECTORS} tags a request, the next once the one before is answered`,
    },
    tables: tablesOf(measured, crowded, subrequests),
    aims: aimsOf(measured, subrequests),
    plots: { rates: plotOf(measured) },
  })
}

const crowdName = (route: RouteName, beside: boolean): string =>
  `${route}, ${beside ? "beside full requests" : "alone"}`

const figuresOf = ({ rounds }: Measured, route: RouteName, which: Figure): number[] =>
  (rounds.get(route) ?? []).map((round) => round[which])

const ratiosOf = (measured: Measured, which: Figure): number[] =>
  ratios(figuresOf(measured, OURS, which), figuresOf(measured, BARE, which))

function tablesOf(
  measured: readonly Measured[],
  crowded: ReadonlyMap<string, readonly CrowdRound[]>,
  subrequests: readonly Subrequests[],
): Table[] {
  const cells = (cell: (which: Figure) => string) =>
    Object.fromEntries(FIGURES.map((which) => [which, cell(which)]))
  const crowdOf = (route: RouteName, beside: boolean, which: keyof CrowdRound): number[] =>
    (crowded.get(crowdName(route, beside)) ?? []).map((round) => round[which])
  return [
    {
      title: "from a request to its answer, milliseconds: median of the rounds (least–most)",
      rows: measured.flatMap((one) =>
        ROUTES.map((route) => ({
          kind: one.kind,
          connections: one.load.connections,
          route,
          ...cells((which) => spread(figuresOf(one, route, which))),
        })),
      ),
    },
    {
      title: `${OURS} / ${BARE}, round by round`,
      rows: measured.map((one) => ({
        kind: one.kind,
        connections: one.load.connections,
        ...cells((which) => spread(ratiosOf(one, which))),
      })),
    },
    {
      title: `p99 of publishes at ${BUSY.connections} connections, beside one that posts ${figure(MAX_SELECTORS)} tags at a time, milliseconds`,
      rows: ROUTES.map((route) => {
        const [alone, beside] = [false, true].map((crowd) => crowdOf(route, crowd, "p99"))
        return {
          route,
          alone: spread(alone ?? []),
          "beside full requests": spread(beside ?? []),
          "beside / alone": spread(ratios(beside ?? [], alone ?? [])),
          "full requests a second": spread(crowdOf(route, true, "full requests a second")),
        }
      }),
    },
    {
      title: `subrequests of ${OURS}`,
      rows: subrequests.map((row) => ({ ...row, each: row.subrequests / row.sent })),
    },
  ]
}

const aimsOf = (measured: readonly Measured[], subrequests: readonly Subrequests[]): Aim[] => [
  ...measured
    .filter(({ kind, load }) => kind === "publish" || load === BUSY)
    .map((one): Aim => ({
      what: `${one.kind === "publish" ? "publishes" : "webhooks"} a second at ${one.load.connections} connections / ${BARE}`,
      value: median(ratiosOf(one, "a second")),
      is: "at least",
      limit: 0.8,
    })),
  ...subrequests.map((row): Aim => ({
    what: `subrequests a ${row.kind}`,
    value: row.subrequests / row.sent,
    is: "at most",
    limit: 1,
  })),
]

function plotOf(measured: readonly Measured[]): TopLevelSpec {
  const values = measured.flatMap((one) =>
    ROUTES.map((route) => {
      const rounds = figuresOf(one, route, "a second")
      return {
        kind: one.kind === "publish" ? "publishes" : "signed webhooks",
        connections: one.load.connections,
        route,
        median: median(rounds),
        least: Math.min(...rounds),
        most: Math.max(...rounds),
      }
    }),
  )
  return {
    title: `requests a second: median, least and most of ${ROUNDS} rounds`,
    data: { values },
    facet: { column: { field: "kind", type: "nominal", sort: null, title: null } },
    spec: {
      width: 260,
      height: 240,
      encoding: {
        x: { field: "connections", type: "ordinal", axis: { labelAngle: 0 } },
        xOffset: { field: "route", type: "nominal", sort: [...ROUTES] },
      },
      layer: [
        {
          mark: "bar",
          encoding: {
            y: { field: "median", type: "quantitative", title: "requests a second" },
            color: { field: "route", type: "nominal", sort: [...ROUTES], title: null },
          },
        },
        {
          mark: "rule",
          encoding: { y: { field: "least", type: "quantitative" }, y2: { field: "most" } },
        },
      ],
    },
  }
}

await onStage(main)
