// docs/security.md says who may what: nothing that there is may be missing there.
import { existsSync, globSync } from "node:fs"
import { dirname, join } from "node:path"
import { expect, it } from "vitest"
import { SCOPE_KINDS, SCOPE_NAMES } from "../../protocol/config/schema.ts"
import { describedApi } from "../../worker/openapi.gen.ts"
import { allIn, read, root } from "./repository.ts"

const page = read("docs/security.md")

it("has every route of the Worker and of the relay", () => {
  const { paths } = describedApi()
  const worker = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  )
  const relay = globSync("relay-node/{http,operate}.ts", { cwd: root }).flatMap((file) =>
    [...read(file).matchAll(/app\.(get|post|delete)\("([^"]+)"/g)].map(
      ([, method = "", path = ""]) => `${method.toUpperCase()} ${path.replaceAll(/:(\w+)/g, "{$1}")}`,
    ),
  )
  expect(relay.length).toBeGreaterThan(10)
  for (const route of [...worker, ...relay]) expect(page, route).toContain(`\`${route}\``)
})

it("has every scope", () => {
  for (const name of SCOPE_NAMES) expect(page, name).toContain(`\`${name}\``)
  for (const kind of SCOPE_KINDS) expect(page, kind).toContain(`\`${kind}:<pattern>\``)
})

it("links to what is there", () => {
  for (const [file, text] of Object.entries({
    "docs/security.md": page,
    "SECURITY.md": read("SECURITY.md"),
  })) {
    for (const link of allIn(text, /\]\((?!https?:)([^)#]+)/g))
      expect(existsSync(join(root, dirname(file), link)), link).toBe(true)
  }
})
