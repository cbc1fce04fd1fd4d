import { once } from "node:events"
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { setTimeout as delay } from "node:timers/promises"
import type { TopLevelSpec } from "vega-lite"

/**
 * Where processor time goes in Tidemark's own processes: profiles as V8 writes them, which Chromium's developer tools
 * and speedscope open, and a flame graph of each. Only with `--profile`, as taking them costs time itself.
 */
export const isProfiling = process.env["TIDEMARK_BENCH_PROFILE"] === "1"

const PROFILES = join(import.meta.dirname, "../results/profiles")

const MICROSECONDS_BETWEEN_SAMPLES = 200

/** As much of a `.cpuprofile` as is read here. Times are in microseconds. */
interface CpuProfile {
  readonly nodes: readonly ProfileNode[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

interface ProfileNode {
  readonly id: number
  readonly callFrame: CallFrame
  readonly children?: readonly number[]
}

/** The line counts from 0. */
interface CallFrame {
  readonly functionName: string
  readonly url: string
  readonly lineNumber: number
}

let taken = 0

const nameOf = (part: string, what: string): string => `${part}-${what}-${(taken += 1)}.cpuprofile`

/** Flags by which Node profiles a process until it exits. */
export const profileFlags = (part: string, what: string): readonly string[] => [
  "--cpu-prof",
  `--cpu-prof-interval=${MICROSECONDS_BETWEEN_SAMPLES}`,
  `--cpu-prof-dir=${PROFILES}`,
  `--cpu-prof-name=${nameOf(part, what)}`,
]

/**
 * Profiles what an inspector's address leads to, from now until what it resolves to is called.
 *
 * @param script what runs there, as it was bundled: the profile then tells the modules that it was bundled from
 */
export async function profileBy(
  inspector: string,
  part: string,
  what: string,
  script: string,
): Promise<() => Promise<void>> {
  const [target] = (await (await fetch(`${inspector}/json`)).json()) as { webSocketDebuggerUrl: string }[]
  const socket = new WebSocket(target?.webSocketDebuggerUrl ?? inspector)
  await once(socket, "open")
  const answers = new Map<number, (result: unknown) => void>()
  socket.addEventListener("message", ({ data }) => {
    const { id, result } = JSON.parse(String(data)) as { id?: number; result?: unknown }
    if (id !== undefined) answers.get(id)?.(result)
  })
  const call = (method: string, params = {}) =>
    new Promise<unknown>((resolve) => {
      const id = answers.size + 1
      answers.set(id, resolve)
      socket.send(JSON.stringify({ id, method, params }))
    })
  await call("Profiler.enable")
  await call("Profiler.setSamplingInterval", { interval: MICROSECONDS_BETWEEN_SAMPLES })
  await call("Profiler.start")
  return async () => {
    const answer = await Promise.race([call("Profiler.stop"), delay(10_000)])
    const { profile } = (answer ?? {}) as { profile?: CpuProfile }
    socket.close()
    if (!profile) throw new Error(`${what} gave no profile`)
    await mkdir(PROFILES, { recursive: true })
    const nodes = profile.nodes.map((node) => ({ ...node, callFrame: unbundled(node.callFrame, script) }))
    await writeFile(join(PROFILES, nameOf(part, what)), JSON.stringify({ ...profile, nodes }))
  }
}

/** Where a function stood before it was bundled, as esbuild notes above each module. */
function unbundled(frame: CallFrame, script: string): CallFrame {
  if (!frame.url.endsWith("worker.js")) return frame
  const above = script.split("\n").slice(0, frame.lineNumber + 1)
  const note = above.findLast((text) => /^\/\/ \S+\.[cm]?[jt]s$/.test(text))
  return note === undefined ? frame : { ...frame, url: `file:///${note.slice("// ".length)}` }
}

/** Flame graphs of the profiles of a part, by what they are of; where there are several, of the one that was busiest. */
export async function flameGraphsOf(part: string): Promise<Readonly<Record<string, TopLevelSpec>>> {
  const files = (await readdir(PROFILES)).filter(
    (name) => name.startsWith(`${part}-`) && name.endsWith(".cpuprofile"),
  )
  const busiest = new Map<string, Flame>()
  for (const file of files) {
    const [what = ""] = file.slice(part.length + 1).split("-")
    const flame = flameOf(JSON.parse(await readFile(join(PROFILES, file), "utf8")) as CpuProfile)
    if (flame.time > (busiest.get(what)?.time ?? 0)) busiest.set(what, flame)
  }
  return Object.fromEntries(
    Array.from(busiest, ([what, flame]) => [what, flameGraph(`${part}: ${what}`, flame)]),
  )
}

/** A function, with what it called; times in microseconds, of itself and all below it. */
interface Flame {
  readonly name: string
  readonly room: string
  time: number
  readonly calls: Map<string, Flame>
}

const IDLE = "(idle)"

/** All that ran, the same function called from the same place once. */
function flameOf({ nodes, samples, timeDeltas }: CpuProfile): Flame {
  const own = new Map<number, number>()
  // A Worker is sampled only while a request is at work: a longer gap was spent waiting for the next.
  const timeOf = (delta = 0) => Math.min(delta, 2 * MICROSECONDS_BETWEEN_SAMPLES)
  for (const [index, id] of samples.entries()) own.set(id, (own.get(id) ?? 0) + timeOf(timeDeltas[index]))
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const root: Flame = { name: "all", room: "all", time: 0, calls: new Map() }
  const add = ({ id, callFrame, children = [] }: ProfileNode, above: Flame): number => {
    if (callFrame.functionName === IDLE) return 0
    const name = callFrame.functionName || "(anonymous)"
    const key = `${name} ${callFrame.url}`
    const flame = above.calls.get(key) ?? { name, room: roomOf(callFrame.url), time: 0, calls: new Map() }
    above.calls.set(key, flame)
    const time = children.reduce(
      (sum, child) => {
        const node = byId.get(child)
        return node ? sum + add(node, flame) : sum
      },
      own.get(id) ?? 0,
    )
    flame.time += time
    return time
  }
  const [first] = nodes
  for (const child of first?.children ?? []) {
    const node = byId.get(child)
    if (node) root.time += add(node, root)
  }
  return root
}

const ROOM = /\/(client|dispatch|protocol|relay-node|worker|cli)\//

function roomOf(url: string): string {
  const [, name] = /\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url) ?? []
  if (name !== undefined) return name
  const [, room] = ROOM.exec(url) ?? []
  return room ?? (url === "" || /^(?:node|wasm)/.test(url) ? "runtime" : "bundle")
}

const WIDTH = 1_400
const ROW = 17
const CHARACTER = 6.5
/** Of all that ran; what took less is not drawn, nor what lies deeper. */
const LEAST = 0.003
const DEEPEST = 24
/** Rooms that took most; all others share a colour. */
const COLOURS = 9

function flameGraph(title: string, all: Flame): TopLevelSpec {
  const values: Readonly<Record<string, string | number>>[] = []
  const times = new Map<string, number>()
  let deepest = 0
  const lay = (flame: Flame, depth: number, from: number): void => {
    const share = flame.time / all.time
    if (share < LEAST || depth > DEEPEST) return
    const below = [...flame.calls.values()].toSorted((a, b) => b.time - a.time)
    const own = flame.time - below.reduce((sum, { time }) => sum + time, 0)
    times.set(flame.room, (times.get(flame.room) ?? 0) + own)
    deepest = Math.max(deepest, depth)
    const fits = Math.floor((share * WIDTH - 4) / CHARACTER)
    const label = flame.name.length <= fits ? flame.name : `${flame.name.slice(0, Math.max(0, fits - 1))}…`
    const told = `${flame.name} (${flame.room}), ${(share * 100).toFixed(1)} %`
    values.push({ room: flame.room, depth, from, to: from + share, label: fits < 3 ? "" : label, told })
    let at = from
    for (const called of below) {
      lay(called, depth + 1, at)
      at += called.time / all.time
    }
  }
  let at = 0
  for (const flame of [...all.calls.values()].toSorted((a, b) => b.time - a.time)) {
    lay(flame, 0, at)
    at += flame.time / all.time
  }
  const rooms = [...times].toSorted((a, b) => b[1] - a[1]).map(([room]) => room)
  const shown = new Set(rooms.slice(0, COLOURS))
  const coloured = values.map((value) => ({
    ...value,
    room: shown.has(String(value["room"])) ? value["room"] : "others",
  }))
  const domain = [...shown, ...(rooms.length > COLOURS ? ["others"] : [])]
  const x = { type: "quantitative" as const, scale: { domain: [0, 1], nice: false }, axis: null }
  const y = { field: "depth", type: "ordinal", axis: null, scale: { paddingInner: 0.06 } } as const
  return {
    title: `${title}: what ran, from above to what it called; widths are shares of ${(all.time / 1e6).toFixed(1)} s of processor`,
    width: WIDTH,
    height: (deepest + 1) * ROW,
    data: { values: coloured },
    layer: [
      {
        mark: { type: "rect", stroke: "white", strokeWidth: 0.5 },
        encoding: {
          x: { ...x, field: "from" },
          x2: { field: "to" },
          y,
          color: {
            field: "room",
            type: "nominal",
            sort: domain,
            scale: { domain, scheme: "set3" },
            title: null,
          },
          description: { field: "told" },
        },
      },
      {
        mark: { type: "text", align: "left", dx: 3, fontSize: 10 },
        encoding: { x: { ...x, field: "from" }, y, text: { field: "label" } },
      },
    ],
  }
}
