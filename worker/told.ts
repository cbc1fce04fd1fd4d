import type { EdgeWorker } from "./create-worker.ts"

/**
 * A Worker that tells of each publish and each webhook, the refused ones too: for whoever sits in front of `tidemark
 * dev` and points a CMS at it. A deployed Worker does not carry this.
 *
 * A line is JSON: `msg` says what it was, `told` what there is to say, text by text. Of what was sent it holds what a
 * publish named, and of a webhook nothing but the source; no header, and so no secret.
 */
export const telling = (worker: EdgeWorker, tell: (line: string) => void): EdgeWorker => ({
  async fetch(request, bindings, context) {
    const { pathname } = new URL(request.url)
    const source = /^\/v1\/hooks\/([^/]*)$/.exec(pathname)?.[1]
    const isPublish = request.method === "POST" && pathname === "/v1/invalidations"
    if (!isPublish && source === undefined) return worker.fetch(request, bindings, context)
    // A webhook's body says little to people, and may be large: it is left alone.
    const asked = isPublish ? request.clone() : undefined
    const response = await worker.fetch(request, bindings, context)
    const answer = await jsonOf(response.clone())
    const level = response.status < 400 ? INFO : WARN
    const told =
      source === undefined
        ? [...publishedBy(await jsonOf(asked)), String(response.status), ...publishAnswer(answer)]
        : [shortly(source), String(response.status), ...hookAnswer(answer)]
    tell(JSON.stringify({ level, msg: source === undefined ? "publish" : "webhook", told }))
    return response
  },
})

/** As pino counts them, which the other parts log by. */
const INFO = 30
const WARN = 40

/** On one line there is room for so many values, and for so much of each. */
const SHOWN = 3
const LONGEST = 200

const shortly = (text: string): string => (text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text)

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  value !== null && typeof value === "object"

async function jsonOf(message: Request | Response | undefined): Promise<unknown> {
  try {
    return await message?.json()
  } catch {
    return undefined
  }
}

const listed = (values: readonly string[]): string => {
  const more = values.length - SHOWN
  return values.slice(0, SHOWN).map(shortly).join(", ") + (more > 0 ? ` and ${more} more` : "")
}

const textsOf = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : [])

/** `blog`, and `tag post-42`. */
function publishedBy(body: unknown): string[] {
  if (!isObject(body)) return []
  const { invalidations, namespace, everything } = body
  if (Array.isArray(invalidations)) return [`${invalidations.length} at once`]
  const selectors = SELECTORS.flatMap(([list, one]) => textsOf(body[list]).map((value) => `${one} ${value}`))
  const where = everything === true ? "everything" : typeof namespace === "string" ? shortly(namespace) : "?"
  return selectors.length > 0 ? [where, listed(selectors)] : [where]
}

const SELECTORS = [
  ["tags", "tag"],
  ["urls", "url"],
  ["prefixes", "prefix"],
  ["hosts", "host"],
] as const

/** Why not, in the words of the answer, which hold nothing of what was sent. */
function refusalOf({ detail, errors }: Readonly<Record<string, unknown>>): string[] {
  const faults = Array.isArray(errors) ? errors.filter(isObject) : []
  const pointers = faults.map((fault) => `${String(fault["pointer"])} ${String(fault["detail"])}`)
  return [...(typeof detail === "string" ? [detail] : []), ...(pointers.length > 0 ? [listed(pointers)] : [])]
}

function publishAnswer(answer: unknown): string[] {
  if (!isObject(answer)) return []
  const { invalidations, id, duplicate, code } = answer
  if (typeof code === "string") return refusalOf(answer)
  const ids = Array.isArray(invalidations)
    ? invalidations.map((one: unknown) => (isObject(one) ? String(one["id"]) : ""))
    : [String(id)]
  return [`accepted ${listed(ids)}`, ...(duplicate === true ? ["again"] : [])]
}

function hookAnswer(answer: unknown): string[] {
  if (!isObject(answer)) return []
  const { epochs, duplicate, notes, code } = answer
  if (typeof code === "string") return refusalOf(answer)
  const ids = textsOf(epochs)
  return [
    ids.length > 0 ? `accepted ${listed(ids)}` : "nothing is invalidated",
    ...(duplicate === true ? ["again"] : []),
    ...textsOf(notes).slice(0, SHOWN).map(shortly),
  ]
}
