/**
 * The Worker's API as OpenAPI 3.1, made at build time: what is asked comes from the schemas that judge it. All but the
 * responses that say no: those the Worker adds from `PROBLEMS`, which its bundle holds anyway.
 */
import * as z from "zod"
import { invalidationBody, MAX_BATCH, SELECTOR_LISTS } from "../protocol/invalidation.ts"
import type { NodeRecord, TargetRecord } from "../protocol/record.ts"

const bearer = [{ token: [] }]
const json = (schema: object) => ({ content: { "application/json": { schema } } })
const ref = (name: string) => ({ $ref: `#/components/schemas/${name}` })

/** By the names that worker/openapi.ts gives them, where it adds them. */
const problems = (...statuses: number[]) =>
  Object.fromEntries(statuses.map((status) => [String(status), { $ref: `#/components/responses/${status}` }]))

const query = (name: string, description: string, schema: object = { type: "string" }, many = false) => ({
  name,
  in: "query",
  description,
  schema: many ? { type: "array", items: schema } : schema,
})
const epochSchema = {
  type: "integer",
  description: "Microseconds since 1970",
}

const explained = {
  type: "object",
  properties: {
    rule: { type: ["integer", "null"], description: "The first of the source's rules that matched" },
    rules: { type: "array", items: { type: "integer" } },
    invalidations: { type: "array", items: { type: "object" } },
    targets: {
      type: "object",
      additionalProperties: {
        type: "object",
        properties: {
          calls: { type: "integer" },
          widened: {
            type: "array",
            items: {
              type: "object",
              properties: {
                namespace: { type: ["string", "null"] },
                selector: { type: "string" },
                as: { type: "string" },
              },
            },
          },
          cost: { type: "number", description: "US dollars" },
          seconds: { type: "integer", description: "At the vendor's pace" },
        },
      },
    },
    notes: { type: "array", items: { type: "string" } },
  },
}

const accepted = {
  type: "object",
  required: ["id", "epoch", "tenant", "namespace", "duplicate", "targets", "warnings"],
  properties: {
    id: { type: "string", description: "The epoch as a decimal string; opaque" },
    epoch: epochSchema,
    tenant: { type: "string" },
    namespace: { type: ["string", "null"], description: "null: every namespace of the tenant" },
    duplicate: { type: "boolean", description: "Recorded before" },
    targets: { type: "array", items: { type: "string" } },
    warnings: { type: "array", items: { type: "string" } },
  },
}

const passKind = { enum: ["settle", "second", "stale"] }

const ofNode = {
  state: {
    enum: ["pending", "settling", "retrying", "paused", "done", "dead", "not_supported", "unknown"],
  },
  at: { type: ["string", "null"], format: "date-time" },
  ms: { type: ["number", "null"], description: "From the acceptance" },
  attempts: { type: "integer" },
  as: {
    type: ["string", "null"],
    description: "Sent instead",
  },
  calls: {
    type: "array",
    items: {
      type: "object",
      properties: { status: { type: "integer" }, vendorId: { type: "string" } },
    },
  },
  error: { type: ["string", "null"] },
} satisfies Record<keyof NodeRecord, object>

const record = {
  type: "object",
  required: [
    "id",
    "epoch",
    "seq",
    "tenant",
    "namespace",
    "mode",
    "by",
    "acceptedAt",
    "state",
    "passes",
    "targets",
  ],
  properties: {
    id: { type: "string" },
    epoch: epochSchema,
    seq: { type: "integer" },
    tenant: { type: "string" },
    namespace: { type: ["string", "null"] },
    ...Object.fromEntries(SELECTOR_LISTS.map((list) => [list, { type: "array", items: { type: "string" } }])),
    everything: { type: "boolean" },
    resync: { type: "boolean" },
    mode: { enum: ["invalidate", "purge"] },
    entity: { type: "object" },
    reason: { type: "string" },
    notes: {
      type: "array",
      items: { type: "string" },
      description: "Why it is more or less than rules say",
    },
    pass: {
      type: "object",
      properties: { kind: passKind, of: epochSchema },
    },
    by: { type: "object", description: "`token`, `source` or `relay`: who published" },
    acceptedAt: { type: "string", format: "date-time" },
    state: { enum: ["pending", "done", "failed"] },
    noRelay: { type: "boolean" },
    passes: {
      type: "array",
      items: {
        type: "object",
        properties: {
          kind: passKind,
          epoch: { type: ["integer", "null"] },
          at: { type: ["string", "null"] },
        },
      },
    },
    cause: { type: "string" },
    targets: {
      type: "object",
      additionalProperties: {
        type: "object",
        properties: {
          ...ofNode,
          verified: { enum: ["fresh", "stale"] },
          nodes: {
            type: "object",
            additionalProperties: { type: "object", properties: ofNode },
          },
        } satisfies Record<keyof TargetRecord, object>,
      },
    },
  },
}

const lookup = {
  type: "object",
  required: ["tenant", "generation", "last", "stamp", "asOf", "namespaces"],
  properties: {
    tenant: { type: "string" },
    generation: { type: "integer" },
    last: epochSchema,
    stamp: {
      type: "string",
      description: "Kept with what is read from the origin after this",
    },
    asOf: { type: "integer", description: "When the store was asked, in ms" },
    namespaces: {
      type: "object",
      additionalProperties: {
        type: "object",
        properties: {
          epoch: epochSchema,
          watermark: epochSchema,
          hard: epochSchema,
          floor: { type: "integer", description: "What a tag that is not listed counts as" },
          tags: { type: "object", additionalProperties: { type: "integer" } },
          urls: { type: "object", additionalProperties: { type: "integer" } },
        },
      },
    },
    after: { type: "integer", description: "What `changed` counts from" },
    changed: { type: "object", description: "null: not known, or above 1,000" },
  },
}

export function openApi(version: string): object {
  const { $schema: _, ...invalidation } = z.toJSONSchema(invalidationBody as unknown as z.ZodType, {
    io: "input",
    unrepresentable: "any",
  })
  const lookupAnswer = {
    "200": { description: "The epochs", ...json(ref("Lookup")) },
    ...problems(400, 401, 403, 422, 503),
  }
  return {
    openapi: "3.1.0",
    info: { title: "Tidemark", version, description: "Records invalidations, and answers what is fresh." },
    paths: {
      "/v1/invalidations": {
        post: {
          summary: "Publish one invalidation, or a batch as one atomic publish",
          security: bearer,
          parameters: [
            {
              name: "Idempotency-Key",
              in: "header",
              schema: { type: "string", minLength: 1, maxLength: 255 },
              description: "Remembered 24 h per tenant and token",
            },
            {
              name: "Prefer",
              in: "header",
              schema: { type: "string" },
              description: "`wait=n`, 1 to 30 s: answer 200 with the record once every target is done",
            },
          ],
          requestBody: {
            required: true,
            ...json({
              oneOf: [
                ref("Invalidation"),
                {
                  type: "object",
                  required: ["invalidations"],
                  additionalProperties: false,
                  properties: {
                    invalidations: {
                      type: "array",
                      minItems: 1,
                      maxItems: MAX_BATCH,
                      items: ref("Invalidation"),
                    },
                  },
                },
              ],
            }),
          },
          responses: {
            "200": { description: "Every target is done (with `Prefer: wait`)", ...json(ref("Record")) },
            "202": { description: "Recorded", ...json(ref("Accepted")) },
            ...problems(400, 401, 403, 413, 422, 501, 503),
          },
        },
        get: {
          summary: "A page of the log",
          security: bearer,
          parameters: [
            query("after", "Entries after this epoch", { type: "integer" }),
            query("before", "Entries before this epoch, newest first", { type: "integer" }),
            query("ns", "A pattern: `*`, or a namespace with all below it"),
            query("limit", "1 to 1,000", { type: "integer", default: 100 }),
          ],
          responses: {
            "200": {
              description: "A page",
              ...json({
                type: "object",
                properties: {
                  items: { type: "array", items: ref("Record") },
                  next: { type: ["integer", "null"] },
                },
              }),
            },
            ...problems(400, 401, 403, 503),
          },
        },
      },
      "/v1/invalidations/{id}": {
        get: {
          summary: "What became of an invalidation",
          security: bearer,
          parameters: [{ name: "id", in: "path", required: true, schema: { type: "string" } }],
          responses: {
            "200": { description: "The record", ...json(ref("Record")) },
            ...problems(401, 403, 404, 503),
          },
        },
      },
      "/v1/epochs": {
        get: {
          summary: "The epochs that cache entries are judged by",
          security: bearer,
          parameters: [
            query("ns", "A namespace; may be repeated", { type: "string" }, true),
            query("tag", "<namespace>:<tag>; may be repeated", { type: "string" }, true),
            query("url", "<namespace>:<url>; may be repeated", { type: "string" }, true),
            query("after", "Also tell what changed since this epoch", { type: "integer" }),
          ],
          responses: lookupAnswer,
        },
        post: {
          summary: "The same, asked by a body",
          security: bearer,
          requestBody: {
            required: true,
            ...json({
              type: "object",
              required: ["namespaces"],
              additionalProperties: false,
              properties: {
                namespaces: {
                  type: "object",
                  additionalProperties: {
                    type: "object",
                    additionalProperties: false,
                    properties: {
                      tags: { type: "array", items: { type: "string" } },
                      urls: { type: "array", items: { type: "string" } },
                    },
                  },
                },
                after: { type: "integer" },
              },
            }),
          },
          responses: lookupAnswer,
        },
      },
      "/v1/hooks/{source}": {
        post: {
          summary: "A CMS's webhook",
          parameters: [{ name: "source", in: "path", required: true, schema: { type: "string" } }],
          requestBody: { required: true, content: { "*/*": {} } },
          responses: {
            "200": {
              description: "Recorded, or ignored with a note",
              ...json({
                type: "object",
                properties: {
                  accepted: { type: "integer" },
                  duplicate: { type: "boolean" },
                  epochs: { type: "array", items: epochSchema },
                  notes: { type: "array", items: { type: "string" } },
                },
              }),
            },
            ...problems(401, 404, 413, 503),
          },
        },
      },
      "/v1/explain": {
        post: {
          summary: "What a publish, or a webhook, would do: nothing is stored, and nobody is called",
          security: bearer,
          requestBody: {
            required: true,
            ...json({
              oneOf: [
                {
                  type: "object",
                  required: ["invalidation"],
                  additionalProperties: false,
                  properties: { invalidation: ref("Invalidation") },
                },
                {
                  type: "object",
                  required: ["source", "body"],
                  additionalProperties: false,
                  properties: {
                    source: { type: "string" },
                    headers: { type: "object", additionalProperties: { type: "string" } },
                    body: { description: "As JSON, or the text of it" },
                  },
                },
              ],
            }),
          },
          responses: {
            "200": { description: "What it would come to", ...json(explained) },
            ...problems(400, 401, 403, 404, 413, 422),
          },
        },
      },
      "/healthz": {
        get: { summary: "Whether this part runs", responses: { "200": { description: "It does" } } },
      },
    },
    components: {
      securitySchemes: { token: { type: "http", scheme: "bearer", description: "tm_ and 43 characters" } },
      schemas: {
        Invalidation: invalidation,
        Accepted: accepted,
        Record: record,
        Lookup: lookup,
        Problem: {
          type: "object",
          description: "RFC 9457",
          required: ["type", "code", "title", "status", "detail"],
          properties: {
            type: { type: "string" },
            code: { type: "string" },
            title: { type: "string" },
            status: { type: "integer" },
            detail: { type: "string" },
            errors: {
              type: "array",
              items: {
                type: "object",
                properties: { pointer: { type: "string" }, detail: { type: "string" } },
              },
            },
          },
        },
      },
    },
  }
}
