import { visitBroken } from "./broken-site.ts"

/** `?origin=&from=&to=` */
export default {
  async fetch(request: Request): Promise<Response> {
    const { searchParams } = new URL(request.url)
    const [from, to] = ["from", "to"].map((name) => Number(searchParams.get(name)))
    return Response.json(await visitBroken(searchParams.get("origin") ?? "", from ?? 0, to ?? 0))
  },
}
