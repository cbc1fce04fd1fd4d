import type { Epoch } from "../../protocol/epoch.ts"
import type { ConfigInput } from "../../protocol/config/schema.ts"
import type { Milliseconds } from "../../protocol/time.ts"

/** What the parts of the bench say to each other. Every publish has a number, which never comes again. */

export const NAMESPACE = "blog"

/** Of the relay and of the publishers: nothing waits, and nothing is called but the one target. */
export const CONFIG: ConfigInput = {
  namespaces: { [NAMESPACE]: {} },
  targets: {
    cdn: {
      type: "http",
      url: "http://127.0.0.1:1/",
      secret: { secret: "CDN_SECRET" },
      namespaces: ["*"],
    },
  },
}

const PREFIX = "page-"
export const tagOf = (number: number): string => `${PREFIX}${number}`
export const numberOf = (tag: string): number => Number(tag.slice(PREFIX.length))

export interface Load {
  readonly redisUrl: string
  /** The first publish's number. */
  readonly first: number
  readonly count: number
  /** Publishes a second, sent when they are due whatever was answered. Undefined: each publisher waits for its answer. */
  readonly rate?: number
  /** Connections, which take turns. */
  readonly publishers: number
}

export interface Published {
  /** By number, from the first on. */
  readonly epochs: readonly Epoch[]
  /** The longest that a publish was sent after it was due. */
  readonly late: Milliseconds
}

/** What a contender is asked once all is published. */
export interface Expected {
  readonly first: number
  readonly count: number
  /** As they were answered: by number, from the first on. */
  readonly epochs: readonly Epoch[]
  /** What is not handled by then is lost. */
  readonly within: Milliseconds
}

/** When what was published was handled, milliseconds since 1970; NaN, in JSON null, where it never was. */
export interface Handled {
  /** By number, from the first on. */
  readonly at: readonly (number | null)[]
  /** The relay's alone: when each wake was heard, in the order in which they came. */
  readonly wakes?: readonly number[]
  /** How many calls or reads these came by. */
  readonly batches: number
}
