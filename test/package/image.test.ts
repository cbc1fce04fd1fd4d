// The images as Docker would build them, with what npm brings. `npm test` does the same with the packages that it has.
import { describe, expect, it } from "vitest"
import { buildImage, DOCKERFILES } from "../infra/image.ts"

describe.each(DOCKERFILES)("%s", (dockerfile) => {
  it("is built from what npm installs, and starts", async () => {
    await using image = await buildImage(dockerfile, "npm")
    expect(await image.run(["--version"])).toMatchObject({ code: 0, stderr: "" })
  })
})
