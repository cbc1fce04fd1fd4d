/**
 * Writes the lock file by which an installed `tidemark dev` fetches its tools: the very versions that a clone runs, with
 * their digests.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { DEV_TOOLS } from "../cli/dev/tools.ts"

type Dependencies = Readonly<Record<string, string>>

interface Locked {
  readonly dependencies?: Dependencies
  readonly optionalDependencies?: Dependencies
  readonly [field: string]: unknown
}

/** A `package-lock.json` of version 3. */
export interface Lock {
  readonly lockfileVersion: number
  /** By where they lie: `node_modules/undici`, `node_modules/miniflare/node_modules/undici`. */
  readonly packages: Readonly<Record<string, Locked>>
}

/** As much of a package.json as is needed. */
interface Manifest {
  readonly name: string
  readonly dependencies: Dependencies
}

/** What they say of a package counts for the tree that it was in. */
const FLAGS = ["dev", "devOptional", "optional", "peer"]

/**
 * Cuts a lock file down to what a manifest names and all that this depends on: the same versions and digests, at the
 * same places.
 *
 * @throws {Error} naming what the lock file lacks
 */
export function lockOf(lock: Lock, manifest: Manifest): Lock & { readonly name: string } {
  const needed = placesOf(lock, manifest, ["dependencies"])
  const all = placesOf(lock, manifest, ["dependencies", "optionalDependencies"])
  const packages = [...all].toSorted().map((place): [string, Locked] => {
    const fields = Object.entries(lock.packages[place] ?? {}).filter(([name]) => !FLAGS.includes(name))
    return [place, { ...Object.fromEntries(fields), ...(needed.has(place) ? {} : { optional: true }) }]
  })
  return {
    name: manifest.name,
    lockfileVersion: lock.lockfileVersion,
    packages: { "": { ...manifest }, ...Object.fromEntries(packages) },
  }
}

/** Where everything lies that is reached from a manifest along dependencies of these kinds. */
function placesOf(
  { packages }: Lock,
  manifest: Manifest,
  kinds: readonly ("dependencies" | "optionalDependencies")[],
): Set<string> {
  const places = new Set<string>()
  const follow = (from: string, { dependencies, optionalDependencies }: Locked) => {
    for (const kind of kinds) {
      for (const name of Object.keys({ dependencies, optionalDependencies }[kind] ?? {})) {
        const place = placesAbove(from, name).find((each) => packages[each] !== undefined)
        if (place === undefined) throw new Error(`the lock file has no ${name}, which ${from || "it"} needs`)
        if (places.has(place)) continue
        places.add(place)
        follow(place, packages[place] ?? {})
      }
    }
  }
  follow("", { ...manifest })
  return places
}

/** Where Node looks for a package, from the nearest on. */
function placesAbove(from: string, name: string): string[] {
  const above = from.lastIndexOf("/node_modules/")
  const outer = from === "" ? [] : placesAbove(above < 0 ? "" : from.slice(0, above), name)
  return [`${from === "" ? "" : `${from}/`}node_modules/${name}`, ...outer]
}

const root = join(import.meta.dirname, "..")
const readJson = (file: string): unknown => JSON.parse(readFileSync(join(root, file), "utf8"))

/** That of the tools, from this repository's. */
export function toolsLock(): Lock {
  const { devDependencies } = readJson("package.json") as { readonly devDependencies: Dependencies }
  const dependencies = Object.fromEntries(DEV_TOOLS.map((name) => [name, devDependencies[name] ?? ""]))
  return lockOf(readJson("package-lock.json") as Lock, { name: "tidemark-dev-tools", dependencies })
}

if (import.meta.main) {
  writeFileSync(join(root, "dist/dev-tools.lock.json"), `${JSON.stringify(toolsLock(), null, 2)}\n`)
}
