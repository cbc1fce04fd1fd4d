/** As much of the Cache API as control flow needs, where the runtime has none. The real one is tested in workerd. */
export class MapCache {
  readonly kept = new Map<string, Response>()
  /** Holds puts back until it resolves. */
  slow: Promise<void> = Promise.resolve()

  async match(key: Request): Promise<Response | undefined> {
    return this.kept.get(key.url)?.clone()
  }

  async put(key: Request, response: Response): Promise<void> {
    // Read to its end, as a real one does before the copy can be found.
    const body = await response.arrayBuffer()
    await this.slow
    this.kept.set(key.url, new Response(body, { status: response.status, headers: response.headers }))
  }

  async delete(key: Request): Promise<boolean> {
    return this.kept.delete(key.url)
  }

  asCache(): Cache {
    return this as unknown as Cache
  }
}
