import { PROBLEMS } from "../protocol/errors.ts"
import { describedApi } from "./openapi.gen.ts"

/** The Worker's API as OpenAPI 3.1. What the routes refer to as their refusals comes from where they get them. */
export function openApi(): object {
  const { components, ...api } = describedApi()
  const responses = Object.entries(Object.groupBy(Object.entries(PROBLEMS), ([, { status }]) => status)).map(
    ([status, problems]) => [
      status,
      {
        description: problems.map(([code, { title }]) => `\`${code}\`: ${title}`).join("; "),
        content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } },
      },
    ],
  )
  return { ...api, components: { ...components, responses: Object.fromEntries(responses) as object } }
}
