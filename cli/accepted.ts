import { CliError, EXIT, type ExitCode } from "./exit.ts"
import type { Connection } from "./http.ts"
import { tellingLast } from "./interrupt.ts"
import { isRecord } from "./json.ts"
import { plain, print, printJson, tell, tellWarning } from "./output.ts"
import { showWaited, type Wait, waitForRecord, waitTime } from "./wait.ts"

/** What a publish or a resync was answered with, as far as the command relies on it. */
export type Accepted = Readonly<Record<string, unknown>> & { readonly id: string }

/** @throws {CliError} `failed`: the answer is none of ours */
export function parseAccepted({ url }: Connection, answer: unknown): Accepted {
  if (isRecord(answer) && typeof answer["id"] === "string") return { ...answer, id: answer["id"] }
  throw new CliError("failed", `${url.href} answered something else than an id: is that a Tidemark?`)
}

/** Shows what was accepted, or with `--wait` what became of it. */
export async function showOutcome(
  connection: Connection,
  accepted: Accepted,
  { json = false, wait }: { readonly json?: boolean; readonly wait?: Wait },
): Promise<ExitCode> {
  for (const warning of textsOf(accepted["warnings"])) tellWarning(warning)
  if (wait !== undefined) return waitFor(connection, accepted, wait, json)
  if (json) printJson(accepted)
  else showAccepted(accepted)
  return EXIT.done
}

const textsOf = (value: unknown): string[] =>
  Array.isArray(value) ? value.map((item) => plain(String(item))) : []

function showAccepted(accepted: Accepted): void {
  const targets = textsOf(accepted["targets"])
  print(
    `accepted ${plain(accepted.id)}${accepted["duplicate"] === true ? ", as before: the key was used already" : ""}`,
  )
  print(
    targets.length > 0
      ? `goes to ${targets.join(", ")}`
      : "no target is concerned: readers at request time see it",
  )
}

/** For whoever gives up waiting: what was accepted goes on all the same, and this is how to ask for it later. */
export function tellAccepted(ids: readonly string[]): void {
  for (const id of ids) tell(`accepted ${plain(id)}, and goes on; see: tidemark status ${plain(id)}`)
}

async function waitFor(
  connection: Connection,
  accepted: Accepted,
  wait: Wait,
  json: boolean,
): Promise<ExitCode> {
  const { id } = accepted
  const lost = () => {
    if (json) printJson(accepted)
    tellAccepted([id])
  }
  const waited = await tellingLast(lost, () => waitForRecord(connection, id, waitTime(wait)))
  const code = showWaited(waited, json, accepted)
  if (code === EXIT.late) {
    tell(`accepted as ${plain(id)}, but not known to be done; see: tidemark status ${plain(id)} --watch`)
  }
  return code
}
