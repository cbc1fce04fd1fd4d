import type { Milliseconds } from "../../protocol/time.ts"
import type { VarnishEnd } from "../support/varnish-log.ts"

/**
 * One fault, made for real. It publishes with tags that occur nowhere else, does its harm, insists that the harm was
 * done, and answers what the receiving ends saw of it.
 */
export interface Scenario {
  /** Named so at the command line, and in tags: lower case, digits and dashes. */
  readonly name: string
  /** What was done, for the table in docs/guarantees.md: a sentence without its full stop. */
  readonly title: string
  /** Whether `npm test` runs it, in its short form. */
  readonly isQuick: boolean
  /** @throws {Error} where the fault could not be made, or the system did not come level again */
  run(context: ScenarioContext): Promise<Counted | Skipped>
}

export interface ScenarioContext {
  /** What the scenario is called: its tags begin so. */
  readonly name: string
  /** The short form: the same fault, for no longer than it takes to matter. */
  readonly isShort: boolean
  /** One for all scenarios of a run: it takes what it is asked, and its log says what that was. */
  readonly varnish: VarnishEnd
}

/** What was counted at the receiving ends: the stand-in of a CDN, by the calls that it took, and Varnish's own log. */
export interface Counted {
  /** Acknowledged ones. */
  readonly publishes: number
  /** Acknowledged, and purged neither by themselves nor by anything that stands for them, at one of the ends. */
  readonly lost: number
  /** Tags that one of the ends took more than once. */
  readonly twice: number
  /** From the end of the fault until every lane had read all of the log and all was purged; undefined: never. */
  readonly level: Milliseconds | undefined
  /** What a plain subscriber beside ours never heard of; undefined where there was none. */
  readonly plainLost: number | undefined
  /** What else was seen to go wrong; nothing, as it should be. */
  readonly faults: readonly string[]
}

/** This machine does not allow the fault to be made. */
export interface Skipped {
  readonly skipped: string
}
