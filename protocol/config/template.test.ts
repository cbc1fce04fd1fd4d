import * as fc from "fast-check"
import { describe, expect, it } from "vitest"
import { parseReference, parseTemplate, type Placeholder, variableName, VARIABLES } from "./template.ts"

const placeholder = (from: Placeholder["from"], more: Partial<Placeholder> = {}): Placeholder => ({
  from,
  keepsSlash: false,
  optional: false,
  ...more,
})

const id = placeholder({ variable: "id" })

describe("a template", () => {
  it.each<[string, ReturnType<typeof parseTemplate>]>([
    ["", []],
    ["type-post", ["type-post"]],
    ["{id}", [id]],
    ["post-{id}", ["post-", id]],
    ["{type}-{id}!", [placeholder({ variable: "type" }), "-", id, "!"]],
    ["{id}{id}", [id, id]],
    ["{+slug}", [placeholder({ variable: "slug" }, { keepsSlash: true })]],
    ["{slug?}", [placeholder({ variable: "slug" }, { optional: true })]],
    ["{+slug?}", [placeholder({ variable: "slug" }, { keepsSlash: true, optional: true })]],
    ["{field:/tags/*}", [placeholder({ field: "/tags/*" })]],
    ["{field:/a~1b/c?}", [placeholder({ field: "/a~1b/c" }, { optional: true })]],
    ["{field:/}", [placeholder({ field: "/" })]],
  ])("%j is read into its parts", (template, parts) => expect(parseTemplate(template)).toEqual(parts))

  it.each([
    ["{id", "without a '}'"],
    ["id}", "without a '{'"],
    ["{}", "number 1"],
    ["{?}", "number 1"],
    ["{ident}", "number 1"],
    ["{id}-{ident}", "number 2"],
    ["{Id}", "number 1"],
    ["{ id }", "number 1"],
    ["{{id}}", "number 1"],
    ["{id??}", "number 1"],
    ["{++id}", "number 1"],
    ["{field:}", "number 1"],
    ["{field:tags}", "number 1"],
    ["{constructor}", "number 1"],
  ])("%j is refused: %s", (template, why) => expect(parseTemplate(template)).toContain(why))

  it("of any text is read whole or refused in a sentence", () => {
    const text = fc.array(fc.constantFrom("{", "}", "id", "+", "?", "x", "field:/a"), { maxLength: 8 })
    fc.assert(
      fc.property(text, (parts) => {
        const template = parts.join("")
        const read = parseTemplate(template)
        if (typeof read === "string") return
        const written = read.map((part) => {
          if (typeof part === "string") return part
          const name = "variable" in part.from ? part.from.variable : `field:${part.from.field}`
          return `{${part.keepsSlash ? "+" : ""}${name}${part.optional ? "?" : ""}}`
        })
        expect(written.join("")).toBe(template)
      }),
    )
  })

  it("that is refused is not shown: it may be anything", () => {
    expect(parseTemplate("{hunter2}")).not.toContain("hunter2")
  })
})

describe("a reference", () => {
  it.each(VARIABLES)("may be the variable %s", (variable) =>
    expect(parseReference(variable)).toEqual({ variable }),
  )

  it("may be a pointer into the body", () => {
    expect(parseReference("field:/sys/id")).toEqual({ field: "/sys/id" })
  })

  it.each(["", "ID", "field", "field:", "field:a", "/sys/id", "__proto__"])("is not %j", (text) => {
    expect(variableName(text)).toBe(false)
  })
})
