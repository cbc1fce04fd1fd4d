import { chmodSync, writeFileSync } from "node:fs"

const OWNER_ONLY = 0o600

/** Writes a file that nobody but its owner may read. */
export function writePrivate(path: string, text: string): void {
  writeFileSync(path, text, { mode: OWNER_ONLY })
  // The mode counts for a new file only.
  chmodSync(path, OWNER_ONLY)
}
