import { ask, parseJson } from "../dispatch/targets/answer.ts"
import type { VendorFetch } from "../dispatch/targets/target.ts"
import { declaredNamespaces } from "../protocol/config/config.ts"
import type { Config } from "../protocol/config/schema.ts"
import { parseHead } from "../protocol/epoch.ts"
import { headKey } from "../protocol/keys.ts"
import { parseLookupJson } from "../protocol/lookup.ts"
import { matchesAny, type Namespace } from "../protocol/namespace.ts"
import { asText, type Store } from "../protocol/store.ts"
import { type Milliseconds, SECOND } from "../protocol/time.ts"
import { type Principal, scopePatterns } from "../protocol/tokens.ts"

/** A Worker that publishes to what should be this relay's log, and the token that may look epochs up there. */
export interface WorkerAddress {
  readonly url: string
  readonly token: string
  /** Whose token it is. */
  readonly principal: Principal
}

export interface WorkerCheckOptions {
  readonly worker: WorkerAddress
  readonly store: Store
  readonly config: Config
  readonly fetch: VendorFetch
  /** Told when the two begin to disagree, and when they agree again. */
  readonly onChange: (disagreement: string | undefined) => void
}

const TIMEOUT: Milliseconds = 5 * SECOND
/** A look-up may be answered by a replica that lags, and a new generation takes a moment to arrive there. */
const MISSES = 2

/**
 * Whether the Worker looks at the log that this relay reads. All else of a relay is green on an old primary that was
 * cut off and goes on by itself, and where two parts were given different databases.
 */
export class WorkerCheck {
  readonly #options: WorkerCheckOptions
  readonly #namespace: Namespace | undefined
  #misses = 0
  /** What the log ended with when the Worker was last asked: by now it has seen that, however far it lags. */
  #known = 0
  #disagreement: string | undefined

  constructor(options: WorkerCheckOptions) {
    this.#options = options
    const { config, worker } = options
    this.#namespace = askable(config, worker.principal)
  }

  /** Why the two cannot be looking at one log; undefined while nothing says so, as when the Worker does not answer. */
  get disagreement(): string | undefined {
    return this.#disagreement
  }

  /** Whether the last answer spoke against it: then it is worth asking again soon. */
  get isInDoubt(): boolean {
    return this.#misses > 0
  }

  /** Asks once. @throws {StoreError} */
  async run(): Promise<void> {
    const before = await this.#head()
    const worker = await this.#ask()
    const after = await this.#head()
    // No answer proves nothing, and neither does one from while a generation began. Nor do two that are both empty: how
    // far a log has come that is none yet, the Worker tells by its clock.
    if (!worker || before.generation !== after.generation) return
    if (worker.generation === 0 && after.generation === 0) return
    const reason =
      worker.generation !== after.generation
        ? "another generation"
        : worker.last > after.epoch
          ? "epochs that this relay's Redis does not have"
          : worker.last < this.#known
            ? "epochs older than this relay's Redis had a while ago"
            : undefined
    this.#known = before.epoch
    this.#misses = reason === undefined ? 0 : this.#misses + 1
    if (reason === undefined) this.#say(undefined)
    else if (this.#misses >= MISSES) this.#say(`the Worker answers ${reason}`)
  }

  #say(disagreement: string | undefined): void {
    if (disagreement === this.#disagreement) return
    this.#disagreement = disagreement
    this.#options.onChange(disagreement)
  }

  async #head(): Promise<{ generation: number; epoch: number }> {
    const { store, worker } = this.#options
    const [reply] = await store.pipeline([["GET", headKey(worker.principal.tenant)]])
    return parseHead(asText(reply)) ?? { generation: 0, epoch: 0 }
  }

  async #ask(): Promise<{ generation: number; last: number } | undefined> {
    if (this.#namespace === undefined) return undefined
    const { worker, fetch } = this.#options
    const url = new URL("v1/epochs", worker.url.endsWith("/") ? worker.url : `${worker.url}/`)
    url.searchParams.set("ns", this.#namespace)
    const request = { headers: { authorization: `Bearer ${worker.token}` } }
    const answer = await ask({ fetch }, url.host, url.href, request, AbortSignal.timeout(TIMEOUT))
    return !("outcome" in answer) && answer.status === 200
      ? parseLookupJson(parseJson(answer.text))
      : undefined
  }
}

/** A namespace that the token may ask for: any tells the generation and the last epoch of the tenant. */
function askable(config: Config, principal: Principal): Namespace | undefined {
  const patterns = scopePatterns(principal, "epochs")
  const declared = Object.keys(declaredNamespaces(config, principal.tenant))
  const named = declared.find((name) => name !== "*" && matchesAny(name, patterns))
  if (named !== undefined) return named
  const [below] = patterns.filter((pattern) => pattern !== "*")
  return declared.includes("*") ? (below ?? (patterns.includes("*") ? "any" : undefined)) : below
}
