/** As much of the Cache API as control flow needs, where the runtime has none. The real one is tested in workerd. */
export class MapCache implements Cache {
  readonly kept = new Map<string, Response>()
  /** Holds puts back until it resolves. */
  slow: Promise<void> = Promise.resolve()

  async match(key: RequestInfo | URL): Promise<Response | undefined> {
    return this.kept.get(new Request(key).url)?.clone()
  }

  async put(key: RequestInfo | URL, response: Response): Promise<void> {
    // Read to its end, as a real one does before the copy can be found.
    const body = await response.arrayBuffer()
    await this.slow
    this.kept.set(
      new Request(key).url,
      new Response(body, { status: response.status, headers: response.headers }),
    )
  }

  async delete(key: RequestInfo | URL): Promise<boolean> {
    return this.kept.delete(new Request(key).url)
  }

  add = unsupported
  addAll = unsupported
  keys = unsupported
  matchAll = unsupported
}

async function unsupported(): Promise<never> {
  throw new Error("this cache only knows match, put and delete")
}
