import { createTidemark, workerStore } from "tidemark/client"
import {
  defineEpochCachedEventHandler,
  defineEpochCachedFunction,
  depend,
  epochPages,
  type H3Event,
} from "tidemark/nuxt"
import { cloudflare, labelsFor } from "tidemark/tags"
import { cookie, language } from "tidemark/vary"

/**
 * What somebody writes who has Nuxt 3 or 4, in `server`. The types of h3 1, unstorage and nitropack do not bear being
 * looked at themselves (`skipLibCheck: false`): test/frameworks holds the plug against those.
 */

interface Event extends H3Event {
  readonly method: string
  readonly context: { readonly params?: Readonly<Record<string, string>> }
}

declare const useStorage: (base: string) => {
  getItem<T>(key: string): Promise<T | null>
  setItem(key: string, value: unknown, options?: { readonly [name: string]: unknown }): Promise<void>
}

const epochs = {
  tidemark: createTidemark({ store: workerStore({ url: "https://tidemark.example.com", token: "t" }) }),
  namespace: "blog",
  storage: () => useStorage("cache"),
}

export const plugin = epochPages<Event>({
  ...epochs,
  pages: (event) => event.path.startsWith("/blog/"),
  bypass: ({ method }) => method === "POST",
  query: { ignore: ["ref"] },
  vary: { "accept-language": language(["en", "de"]), cookie: cookie("theme") },
  labels: labelsFor(cloudflare),
  staleIfError: 600,
  version: "1",
  onWarning: ({ code }) => console.warn(code),
})

export const route = defineEpochCachedEventHandler(
  (event: Event) => ({ id: event.context.params?.["id"] ?? "" }),
  {
    ...epochs,
    tags: ({ id }) => [`post-${id}`],
    vary: ["accept-language"],
    query: { allow: ["page"] },
  },
)
const answer: (event: Event) => Promise<{ readonly id: string }> = route

export const getAuthor = defineEpochCachedFunction(async (id: string) => ({ id, answer }), {
  ...epochs,
  name: "author",
  tags: (author) => [`author-${author.id}`],
})

export const setup = (event: Event | undefined) => depend(event, ["post-1"])
