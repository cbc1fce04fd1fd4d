import * as z from "zod/mini"
import "../schema.ts"
import { SECRET_NAME } from "./secret.ts"

/** What `secret("NAME")` makes, as the configuration's schema reads it. */
export const secretSchema = z.strictObject(
  { secret: z.string().check(z.regex(SECRET_NAME)) },
  { error: `must be secret("NAME"): no secret stands in the configuration itself` },
)
