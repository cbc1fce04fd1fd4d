import type { RequestEvent } from "./sveltekit.ts"

/** What a page sets, and what hooks have set before it: loaded when the first page is made. */

/** The event as the page is handed it: that tells what the page set, which hooks before did not. */
export function watched<E extends RequestEvent>(event: E, request: Request) {
  const names = new Set<string>()
  let isSetting = false
  const url = new URL(event.url)
  // Without parameters that make no other page.
  if (request.url !== event.request.url) url.search = new URL(request.url).search
  const inside: E = {
    ...event,
    request,
    url,
    cookies: {
      ...event.cookies,
      set(name: string, value: string, how: never) {
        isSetting = true
        event.cookies.set(name, value, how)
      },
      delete(name: string, how: never) {
        isSetting = true
        event.cookies.delete(name, how)
      },
    },
    setHeaders(headers: Record<string, string>) {
      event.setHeaders(headers)
      for (const name of Object.keys(headers)) names.add(name.toLowerCase())
    },
  }
  return { event: inside, names, setsCookies: () => isSetting }
}

/** Those of a response's headers that were set through the event: SvelteKit refuses to have them set once more. */
export function preparedNames(event: RequestEvent, headers: Headers): readonly string[] {
  return [...headers].flatMap(([name, value]) => {
    if (name === "set-cookie") return []
    try {
      event.setHeaders({ [name]: value })
      return []
    } catch {
      return name
    }
  })
}
