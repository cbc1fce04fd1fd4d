import { expect, it, onTestFinished, vi } from "vitest"
import { droppedTeller } from "./dropped.ts"

it("names each page once, with a few of what had no room", () => {
  const said = vi.spyOn(console, "warn").mockImplementation(() => undefined)
  onTestFinished(() => said.mockRestore())
  const tell = droppedTeller()
  tell("/a", ["one", "two", "three", "four", "five"])
  tell("/a", ["other"])
  tell("/b", ["one"])
  expect(said.mock.calls.flat()).toEqual([
    "tidemark: tags-dropped: the label header of /a has no room for one, two, three, and 2 more",
    "tidemark: tags-dropped: the label header of /b has no room for one",
  ])
})

it("says no more than 16 pages in a minute", () => {
  const said = vi.spyOn(console, "warn").mockImplementation(() => undefined)
  onTestFinished(() => said.mockRestore())
  const tell = droppedTeller()
  for (let page = 0; page < 100; page += 1) tell(`/${page}`, ["tag"])
  expect(said).toHaveBeenCalledTimes(16)
})
