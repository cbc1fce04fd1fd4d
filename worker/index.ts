import type { ConfigInput } from "../protocol/config/schema.ts"
import { TARGET_TRAITS } from "../dispatch/targets/traits.ts"
import { createWorkerWith, type EdgeWorker } from "./create-worker.ts"
import { SOURCES } from "./sources/list.ts"

export { createEdgeWorker, createWorkerWith, type EdgeWorker, type WorkerParts } from "./create-worker.ts"

/**
 * The edge functions: what a Worker exports by default. Carries every source and target; an entry that is generated
 * for one configuration (`tidemark deploy`) carries only those that it uses.
 *
 * @example
 * export default createWorker(config)
 */
export const createWorker = (config: ConfigInput): EdgeWorker =>
  createWorkerWith(config, { sources: SOURCES, targets: TARGET_TRAITS })
