/** `tidemark/node`: for servers that reach Redis themselves, and keep entries in their own memory. */
export {
  createLocalCache,
  type FillOptions,
  type LocalCache,
  type LocalCacheOptions,
  type Sweepable,
} from "./local-cache.ts"
export { memoryPages, type MemoryPagesOptions } from "./memory-pages.ts"
export {
  type IoredisClient,
  type RedisClient,
  type RedisCluster,
  type RedisConnection,
  type RedisPool,
  type RedisSentinel,
  redisStore,
  type RedisStoreOptions,
} from "./redis-store.ts"
export {
  followWakes,
  type FollowWakesOptions,
  type RedisSubscriber,
  type WakeEvent,
  type Wakes,
} from "./wakes.ts"
