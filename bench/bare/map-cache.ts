/**
 * What the Cache API of workerd asks of the service behind it, over a Map: as little as a cache can do, the same for
 * all that are measured over it.
 *
 * @see https://github.com/cloudflare/workerd/blob/main/src/workerd/api/cache.c++
 */
interface Kept {
  readonly status: number
  readonly headers: readonly (readonly [string, string])[]
  readonly body: Uint8Array<ArrayBuffer>
}

const kept = new Map<string, Kept>()

/** A response as it was serialised for a put: status line, headers, an empty line, the body. */
function parse(bytes: Uint8Array<ArrayBuffer>): Kept {
  let end = 3
  while (!(bytes[end] === 10 && bytes[end - 1] === 13 && bytes[end - 2] === 10 && bytes[end - 3] === 13))
    end += 1
  const [status = "", ...lines] = new TextDecoder().decode(bytes.subarray(0, end - 3)).split("\r\n")
  const headers = lines.map((line): [string, string] => [
    line.slice(0, line.indexOf(":")).toLowerCase(),
    line.slice(line.indexOf(":") + 1).trim(),
  ])
  const isChunked = headers.some(([name]) => name === "transfer-encoding")
  const body = bytes.slice(end + 1)
  return {
    status: Number(status.split(" ")[1]),
    headers: headers.filter(([name]) => name !== "transfer-encoding"),
    body: isChunked ? joined(body) : body,
  }
}

function joined(body: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = []
  for (let at = 0; ;) {
    const line = body.indexOf(13, at)
    const size = Number.parseInt(new TextDecoder().decode(body.subarray(at, line)), 16)
    if (!(size > 0)) break
    parts.push(body.subarray(line + 2, line + 2 + size))
    at = line + 2 + size + 2
  }
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

export default {
  async fetch(request: Request): Promise<Response> {
    const { method, url } = request
    if (method === "PUT") {
      kept.set(url, parse(new Uint8Array(await request.arrayBuffer())))
      return new Response(undefined, { status: 204 })
    }
    if (method === "PURGE") return new Response(undefined, { status: kept.delete(url) ? 200 : 404 })
    const found = kept.get(url)
    if (!found) return new Response(undefined, { status: 504, headers: { "cf-cache-status": "MISS" } })
    return new Response(found.body, {
      status: found.status,
      headers: [...found.headers, ["cf-cache-status", "HIT"]] as [string, string][],
    })
  },
}
