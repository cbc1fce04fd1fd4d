import { expect, it } from "vitest"
import { contextOf, describeSource } from "./conformance.ts"
import { drupal } from "./drupal.ts"
import { unsigned } from "./testing/unsigned.ts"

describeSource(drupal, unsigned)

const read = (body: unknown) =>
  drupal.read({ body, headers: new Headers(), path: "/" }, contextOf("drupal", "s3cret"))

it.for([
  [
    ["node:12", "node_list"],
    ["node:12", "node_list"],
  ],
  [["config:views.view.frontpage, or so"], ["config:views.view.frontpage, or so"]],
  ["node:12", ["node:12"]],
  ["node:12|node_list|", ["node:12", "node_list"]],
  ["node:12,node_list", ["node:12", "node_list"]],
  [" node:12 node_list\n", ["node:12", "node_list"]],
] as const)("reads %j as tags", ([told, tags]) => {
  expect(read({ tags: told })).toEqual({ reading: "events", events: [{ kind: "tags", tags }] })
})

it.for([
  [[]],
  [null],
  ["node:12"],
  [{}],
  [{ tags: [] }],
  [{ tags: "" }],
  [{ tags: " | , " }],
  [{ tags: ["node:12", 12] }],
  [{ tags: ["node:12", ""] }],
  [{ tags: { 0: "node:12" } }],
  [{ urls: ["https://www.example.com/"] }],
])("has no use for %j", ([body]) => {
  expect(read(body)).toMatchObject({ reading: "unreadable" })
})
