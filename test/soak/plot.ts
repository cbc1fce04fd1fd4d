import type { Milliseconds } from "../../protocol/time.ts"
import { freshBound } from "./rules.ts"
import { type CacheName, CACHES } from "./settings.ts"
import type { SoakResult } from "./soak.ts"

const WIDTH = 1_000
const LEFT = 110
const RIGHT = 24
const TOP = 64
const PANEL = 200
const GAP = 46
const LANE = 16
/** Of the logarithmic scale: whatever is less lies on its foot. */
const LEAST: Milliseconds = 10

const STYLE = `
  svg { color-scheme: light dark }
  text { font: 12px system-ui, sans-serif; fill: var(--ink) }
  .quiet { fill: var(--quiet) } .title { font-size: 15px; font-weight: 600 } .end { text-anchor: end } .mid { text-anchor: middle }
  .page { fill: var(--page) } .grid { stroke: var(--grid) } .limit { stroke: var(--quiet); stroke-dasharray: 5 4 }
  .band { fill: var(--fault); opacity: .09 } .fault { fill: var(--fault) }
  .prompt { fill: var(--prompt); opacity: .75 } .lagging { fill: none; stroke: var(--lagging); stroke-width: 1.6 }
  .violation { stroke: var(--violation); stroke-width: 2 }
  :root { --page: #fff; --ink: #1f2328; --quiet: #59636e; --grid: #d8dee4; --fault: #6e7781; --prompt: #0969da; --lagging: #bc4c00; --violation: #cf222e }
  @media (prefers-color-scheme: dark) {
    :root { --page: #0d1117; --ink: #e6edf3; --quiet: #9198a1; --grid: #30363d; --fault: #8b949e; --prompt: #58a6ff; --lagging: #f0883e; --violation: #ff7b72 }
  }`

const escape = (text: string): string => text.replaceAll(/[<>&"]/g, (char) => `&#${char.charCodeAt(0)};`)
const round = (value: number): string => String(Math.round(value * 10) / 10)

/** Steps of 1, 2 or 5 times a power of ten, about eight over the whole. */
function stepOf(whole: number): number {
  const least = whole / 8
  const power = 10 ** Math.floor(Math.log10(least))
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= least) ?? power
}

const inWords = (length: Milliseconds): string => (length >= 1_000 ? `${length / 1_000} s` : `${length} ms`)

/**
 * Staleness of each change over time, one panel a cache, with the faults behind it and by name below: an SVG that can
 * be read on light and on dark.
 */
export function plotOf(result: SoakResult): string {
  const { took, points, faults, violations, startedAt, settings } = result
  const highest = Math.max(
    2_000,
    ...CACHES.flatMap((cache) => points[cache].map(({ staleness }) => staleness)),
  )
  const most = 10 ** Math.ceil(Math.log10(highest))
  const x = (at: Milliseconds): number =>
    LEFT + (Math.min(Math.max(at, 0), took) / took) * (WIDTH - LEFT - RIGHT)
  const y = (staleness: Milliseconds, foot: number): number =>
    foot - (Math.log10(Math.max(staleness, LEAST) / LEAST) / Math.log10(most / LEAST)) * PANEL
  const places = [...new Set(faults.map(({ place }) => place))].toSorted()
  const lanesTop = TOP + CACHES.length * (PANEL + GAP)
  const height = lanesTop + places.length * LANE + 44
  const widthOf = (from: Milliseconds, to: Milliseconds | undefined): number =>
    Math.max(1.5, x((to ?? startedAt + took) - startedAt) - x(from - startedAt))

  const limits: Readonly<Record<CacheName, readonly (readonly [string, Milliseconds])[]>> = {
    "Worker cache": [
      ["2 × ttl", freshBound(settings, false)],
      ["maxStale", freshBound(settings, true)],
    ],
    Varnish: [["secondPass", settings.secondPass]],
  }
  const parts: string[] = []
  for (const [index, cache] of CACHES.entries()) {
    const top = TOP + index * (PANEL + GAP)
    const foot = top + PANEL
    for (const { from, to } of faults) {
      parts.push(
        `<rect class="band" x="${round(x(from - startedAt))}" y="${top}" width="${round(widthOf(from, to))}" height="${PANEL}"/>`,
      )
    }
    for (let value = LEAST; value <= most; value *= 10) {
      const at = round(y(value, foot))
      const label = value === LEAST ? `≤ ${inWords(value)}` : inWords(value)
      parts.push(`<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at}" y2="${at}"/>`)
      parts.push(`<text class="quiet end" x="${LEFT - 8}" y="${at}" dy="4">${label}</text>`)
    }
    for (const [name, value] of limits[cache]) {
      const at = y(value, foot)
      parts.push(
        `<line class="limit" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${round(at)}" y2="${round(at)}"/>`,
      )
      parts.push(`<text class="quiet end" x="${WIDTH - RIGHT - 4}" y="${round(at - 4)}">${name}</text>`)
    }
    parts.push(`<text class="title" x="${LEFT}" y="${top - 10}">${cache}</text>`)
    for (const { at, staleness, lags } of points[cache]) {
      parts.push(
        `<circle class="${lags ? "lagging" : "prompt"}" cx="${round(x(at))}" cy="${round(y(staleness, foot))}" r="3"/>`,
      )
    }
    for (const { at, cache: where, rule, detail } of violations) {
      if (where !== cache) continue
      const [cx, cy] = [x(at - startedAt), top + 8]
      parts.push(
        `<path class="violation" d="M${round(cx - 4)} ${cy - 4}l8 8m0 -8l-8 8"><title>${escape(`${rule}: ${detail}`)}</title></path>`,
      )
    }
  }
  for (const [index, place] of places.entries()) {
    const top = lanesTop + index * LANE
    parts.push(`<text class="quiet end" x="${LEFT - 8}" y="${top + 11}">${escape(place)}</text>`)
    for (const fault of faults) {
      if (fault.place !== place) continue
      parts.push(
        `<rect class="fault" x="${round(x(fault.from - startedAt))}" y="${top + 3}" width="${round(widthOf(fault.from, fault.to))}" height="${LANE - 6}"><title>${escape(fault.what)}</title></rect>`,
      )
    }
  }
  const axis = lanesTop + places.length * LANE
  const step = stepOf(took)
  for (let at = 0; at <= took; at += step) {
    parts.push(`<line class="grid" x1="${round(x(at))}" x2="${round(x(at))}" y1="${axis}" y2="${axis + 5}"/>`)
    parts.push(`<text class="quiet mid" x="${round(x(at))}" y="${axis + 20}">${round(at / 1_000)} s</text>`)
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="Staleness over time per cache, with the faults">
<style>${STYLE}
</style>
<rect class="page" width="${WIDTH}" height="${height}"/>
<text x="${LEFT}" y="24">From a publish's acknowledgement to the last stale byte, by when it was acknowledged</text>
<circle class="prompt" cx="${WIDTH - 330}" cy="20" r="4"/><text class="quiet" x="${WIDTH - 320}" y="24">prompt CMS</text>
<circle class="lagging" cx="${WIDTH - 230}" cy="20" r="4"/><text class="quiet" x="${WIDTH - 220}" y="24">lagging CMS</text>
<path class="violation" d="M${WIDTH - 124} 16l8 8m0 -8l-8 8"/><text class="quiet" x="${WIDTH - 108}" y="24">violation</text>
${parts.join("\n")}
</svg>
`
}
