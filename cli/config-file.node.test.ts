import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { expect, it } from "vitest"
import { loadConfigFile } from "./config-file.ts"
import { folder, run } from "./testing/run.ts"

it("tells where the file lies, what it says and what that means, anew each time", async () => {
  await using here = await folder()
  const path = join(here.path, "tidemark.config.mjs")
  writeFileSync(path, `export default { namespaces: { blog: { settle: "30s" } } }`)
  const first = await loadConfigFile(path)
  expect(first).toMatchObject({
    path,
    directory: here.path,
    input: { namespaces: { blog: { settle: "30s" } } },
  })
  expect(first.config.namespaces["blog"]?.settle).toBe(30_000)
  writeFileSync(path, `export default { namespaces: { news: {} } }`)
  expect(Object.keys((await loadConfigFile(path)).config.namespaces)).toEqual(["news"])
})

it("is an ES module, whatever the package.json beside it says", async () => {
  await using directory = await folder()
  writeFileSync(join(directory.path, "package.json"), '{ "type": "commonjs" }')
  writeFileSync(
    join(directory.path, "tidemark.config.ts"),
    'import { defineConfig } from "tidemark/config"\nexport default defineConfig({ namespaces: { blog: {} } })\n',
  )
  expect(await run(["config", "check"], { cwd: directory.path })).toMatchObject({ code: 0, stderr: "" })
})
