import type { InvalidationRecord, TargetRecord } from "../../protocol/record.ts"

export const ID = "1763672400000001"

export const pendingTarget: TargetRecord = {
  state: "pending",
  at: null,
  ms: null,
  attempts: 0,
  as: null,
  calls: [],
  error: null,
}

export const doneTarget: TargetRecord = {
  state: "done",
  at: "2025-11-20T21:00:00.035Z",
  ms: 35,
  attempts: 1,
  as: null,
  calls: [{ status: 200, vendorId: "v-1" }],
  error: null,
}

/** A record as the Worker answers it. */
export const recordOf = (members: Readonly<Record<string, unknown>> = {}): InvalidationRecord => ({
  id: ID,
  epoch: Number(ID),
  seq: 7,
  tenant: "default",
  namespace: "blog",
  tags: ["post-42"],
  mode: "invalidate",
  by: { token: "deploy" },
  acceptedAt: "2025-11-20T21:00:00.000Z",
  state: "done",
  passes: [],
  targets: { "www-varnish": doneTarget },
  ...members,
})

/** What a publish is answered with. */
export const acceptedOf = (members: Readonly<Record<string, unknown>> = {}) => ({
  id: ID,
  epoch: Number(ID),
  tenant: "default",
  namespace: "blog",
  duplicate: false,
  targets: ["www-varnish"],
  warnings: [],
  ...members,
})

export const problemOf = (status: number, code: string, detail: string, errors?: readonly object[]) => ({
  type: `urn:tidemark:error:${code}`,
  code,
  title: "Something",
  status,
  detail,
  ...(errors ? { errors } : {}),
})

/** The id of a dead letter. */
export const LETTER = "1795272188595-0"

/** A dead letter as the relay answers it. */
export const letterOf = (members: Readonly<Record<string, unknown>> = {}) => ({
  id: LETTER,
  epoch: Number(ID),
  epochs: [Number(ID)],
  tenant: "default",
  namespace: "blog",
  selectors: { tags: ["post-42"] },
  mode: "invalidate",
  error: "400: bad value",
  at: "2026-11-21T21:03:08.595Z",
  ...members,
})
