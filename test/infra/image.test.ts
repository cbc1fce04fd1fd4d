// An image that cannot be built was released once: its build ran a script that imported what it was not given. Here the
// lines of each Dockerfile are done, without Docker, with the files that the build is given and no others.
import { cp, mkdir } from "node:fs/promises"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { buildImage, contextOf, DOCKERFILES, type Image, instructionsOf, listOf } from "./image.ts"
import { PARTS, read, root } from "./repository.ts"

const { version } = JSON.parse(read("package.json")) as { version: string }

it("there is an image to be built", () => expect(DOCKERFILES).not.toEqual([]))

describe.each(DOCKERFILES)("%s", (dockerfile) => {
  let image: Image
  // npm is not asked: `npm run test:package` does the same with its own `npm ci`.
  beforeAll(async () => void (image = await buildImage(dockerfile, "linked")))
  afterAll(() => image[Symbol.asyncDispose]())

  it("is given no secret, no test and nothing that it builds itself", () => {
    const given = contextOf(dockerfile)
    expect(given).toContain("package-lock.json")
    expect(given.filter((file) => /\.test\.ts$|^dist\/|\.env$|\.dev\.vars|^\.tidemark/.test(file))).toEqual(
      [],
    )
  })

  it("starts what it was built for, with its own Node and its own libraries", async () => {
    expect(await image.run(["--version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" })
    for (const part of PARTS) {
      const { code, stdout } = await image.run([part, "--help"])
      expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringContaining(`tidemark ${part}`) })
    }
  })

  it("says what it misses, where it is started with nothing", async () => {
    const { code, stderr } = await image.run(["relay"])
    expect({ code, stderr }).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("REDIS_URL is not set"),
    })
  })

  it("reads a configuration that lies where it is mounted", async () => {
    const [, path = ""] = /TIDEMARK_CONFIG=(\S+)/.exec(textOf(dockerfile, "ENV")) ?? []
    const mounted = join(image.directory, path)
    await mkdir(join(mounted, ".."), { recursive: true })
    await cp(join(root, "infra/docker/tidemark.config.ts"), mounted)
    const { code, stderr } = await image.run(["relay"], {
      TIDEMARK_CONFIG: mounted,
      REDIS_URL: "redis://127.0.0.1:1",
    })
    expect({ code, stderr }).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("DEPLOY_TOKEN_SHA256"),
    })
  })

  it("holds Node, its libraries and the programs, and nothing else", () => {
    expect(listOf(join(image.directory, "app"))).toEqual(["cli", "dist", "package.json"])
    expect(listOf(image.directory).filter((name) => !/^(lib\d*|usr|etc|tmp|app)$/.test(name))).toEqual([])
  })
})

const textOf = (dockerfile: string, name: string): string =>
  instructionsOf(dockerfile)
    .filter((instruction) => instruction.name === name)
    .map(({ text }) => text)
    .join(" ")
