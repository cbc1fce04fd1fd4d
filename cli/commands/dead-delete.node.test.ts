import { expect, it, vi } from "vitest"
import { type Exchange, fakeWorker } from "../testing/fake-worker.ts"
import { LETTER, problemOf } from "../testing/records.ts"
import { run, TOKEN } from "../testing/run.ts"

// Each test starts processes, and the machine may be busy with others.
vi.setConfig({ testTimeout: 60_000 })

const deleted: Exchange = { method: "DELETE", path: `/v1/dead-letters/www-varnish/${LETTER}`, status: 204 }

async function forget(args: readonly string[], exchange: Exchange) {
  await using relay = await fakeWorker(TOKEN, [exchange])
  const result = await run(["dead", "delete", "www-varnish", LETTER, "--yes", ...args], {
    env: { TIDEMARK_RELAY_URL: relay.url, TIDEMARK_TOKEN: TOKEN },
  })
  expect(relay.complaints()).toEqual([])
  return result
}

it("deletes one", async () => {
  expect(await forget([], deleted)).toEqual({
    code: 0,
    stdout: `deleted ${LETTER} of www-varnish\n`,
    stderr: "",
  })
})

it("prints one object with --json", async () => {
  const { code, stdout } = await forget(["--json"], deleted)
  expect(code).toBe(0)
  expect(JSON.parse(stdout)).toEqual({ id: LETTER, target: "www-varnish", deleted: true })
})

it("that is not there is exit 1", async () => {
  const answer = problemOf(404, "not_found", "There is no such dead letter.")
  const { code, stdout } = await forget([], { ...deleted, status: 404, answer })
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" })
})
