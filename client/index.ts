/** `tidemark/client`: epochs at request time. */
export { cacheApiL2, type EpochCache, epochCacheOf, type LookupCache } from "./l2.ts"
export {
  type EpochStore,
  type Publication,
  type Published,
  type StoreAnswer,
  StoreRefusal,
} from "./epoch-store.ts"
export { workerStore, type WorkerStoreOptions } from "./store.ts"
export {
  edgeConfigStore,
  kvStore,
  type TenantOptions,
  upstashStore,
  type UpstashStoreOptions,
} from "./stores.ts"
export {
  createTidemark,
  type Depends,
  type Fill,
  type Judgement,
  type KeyOptions,
  type ReadOptions,
  type Tidemark,
  type TidemarkOptions,
} from "./tidemark.ts"
export { TidemarkError, type TroubleCode } from "./trouble.ts"
export type { WaitUntil } from "./epochs.ts"
export { type Epoch, epochToMs, formatStamp, parseStamp, type Stamp } from "../protocol/epoch.ts"
export type { Asked, Lookup, LookupRequest } from "../protocol/lookup.ts"
export type { Namespace } from "../protocol/namespace.ts"
