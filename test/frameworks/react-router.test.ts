import { createElement, type ReactNode } from "react"
import { renderToString } from "react-dom/server"
import {
  createRequestHandler,
  type EntryContext,
  Outlet,
  type ServerBuild,
  ServerRouter,
  useLoaderData,
} from "react-router"
import { beforeEach, expect, it } from "vitest"
import { withEpochCache } from "../../client/fetch.ts"
import { memoryPages } from "../../client/memory-pages.ts"
import { Clock, ModelStore } from "../../client/testing/model-store.ts"
import { createTidemark } from "../../client/tidemark.ts"

/** React Router's own server behind `tidemark/fetch`: what a browser fetches to go to a page is another url than the page. */

const SITE = "https://www.example.com"

let read = 0
beforeEach(() => {
  read = 0
})

const manifestOf = (id: string, hasLoader: boolean) => ({
  id,
  path: "",
  module: "",
  hasLoader,
  hasAction: false,
  hasErrorBoundary: false,
  hasClientAction: false,
  hasClientLoader: false,
  hasClientMiddleware: false,
  hasDefaultExport: true,
  imports: [],
  clientActionModule: undefined,
  clientLoaderModule: undefined,
  clientMiddlewareModule: undefined,
  hydrateFallbackModule: undefined,
})

const Page = (): ReactNode => createElement("p", null, useLoaderData<{ text: string }>().text)

/** What React Router's build would give for a site of one kind of page. */
const BUILD = {
  entry: {
    module: {
      default(request: Request, status: number, headers: Headers, context: EntryContext) {
        const html = renderToString(createElement(ServerRouter, { context, url: request.url }))
        headers.set("content-type", "text/html")
        return new Response(`<!doctype html>${html}`, { status, headers })
      },
    },
  },
  routes: {
    root: {
      id: "root",
      path: "",
      module: {
        default: () => createElement("html", null, createElement("body", null, createElement(Outlet))),
      },
    },
    post: {
      id: "post",
      parentId: "root",
      path: "blog/:slug",
      module: { loader: () => ({ text: `v${(read += 1)}` }), default: Page },
    },
    home: {
      id: "home",
      parentId: "root",
      index: true,
      module: { loader: () => ({ text: `v${(read += 1)}` }), default: Page },
    },
  },
  assets: {
    entry: { imports: [], module: "" },
    routes: {
      root: manifestOf("root", false),
      post: manifestOf("post", true),
      home: manifestOf("home", true),
    },
    url: "",
    version: "1",
  },
  publicPath: "/",
  assetsBuildDirectory: "",
  future: {},
  isSpaMode: false,
  ssr: true,
  basename: "/",
  prerender: [],
  routeDiscovery: { mode: "initial", manifestPath: "/__manifest" },
} as unknown as ServerBuild

function setUp() {
  const clock = new Clock()
  const store = new ModelStore(clock)
  const handle = createRequestHandler(BUILD, "production")
  const site = withEpochCache((request: Request) => handle(request), {
    tidemark: createTidemark({ store, now: clock.now, random: () => 0 }),
    namespace: "blog",
    cache: memoryPages(),
  })
  const visit = async (path: string) => {
    const response = await site(new Request(SITE + path), {}, {})
    const [version = "none"] = /v\d+/.exec(await response.text()) ?? []
    return `${version} ${response.headers.get("cache-status")?.replace("tidemark; ", "")}`
  }
  const purge = (path: string) => {
    clock.time += 1
    store.record({ kind: "urls", namespace: "blog", values: [SITE + path], hard: true })
    clock.time += 10_000
  }
  return { visit, purge }
}

it.each([
  ["/blog/a", "/blog/a.data"],
  ["/", "/_.data"],
])("a page and its data are kept each by itself, and go together when %s is purged", async (page, data) => {
  const { visit, purge } = setUp()
  expect(await visit(page)).toBe("v1 fwd=uri-miss; stored")
  expect(await visit(data)).toBe("v2 fwd=uri-miss; stored")
  expect([await visit(page), await visit(data)]).toEqual(["v1 hit", "v2 hit"])
  purge(page)
  expect(await visit(data)).toBe("v3 fwd=stale; detail=purged; stored")
  expect(await visit(page)).toBe("v4 fwd=stale; detail=purged; stored")
  expect([await visit(page), await visit(data)]).toEqual(["v4 hit", "v3 hit"])
})
