import type { Guard } from "./guard.ts"
import type { PageStore } from "./pages.ts"

/**
 * The runtime's own cache: Workers have a default one, others have to open it, and some have none. Where it cannot be
 * opened, as on a disk that nobody may write to, that is said, and pages are kept in memory.
 */
export async function openCache(guard: Guard, warn: (cause: unknown) => Promise<void>): Promise<PageStore> {
  try {
    if (typeof caches !== "undefined")
      return (
        (caches as CacheStorage & { readonly default?: Cache }).default ??
        (await guard.run(() => caches.open("tidemark")))
      )
  } catch (cause) {
    await warn(cause)
  }
  return (await import("./memory-pages.ts")).memoryPages()
}
