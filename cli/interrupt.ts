import { clearProgress } from "./output.ts"

const SIGNALS = ["SIGINT", "SIGTERM"] as const

/**
 * Does work that may be given up on, as a wait may: on SIGINT and SIGTERM it is first told what would else be lost.
 *
 * The process then ends by that very signal, and not by an exit code: a shell goes on with its script after a command
 * that exits, however it does, and Ctrl-C is meant for the script too.
 *
 * @param last tells it; must be synchronous
 */
export async function tellingLast<T>(last: () => void, work: () => Promise<T>): Promise<T> {
  const interrupted = (signal: NodeJS.Signals) => {
    release()
    clearProgress()
    last()
    process.kill(process.pid, signal)
  }
  const release = () => {
    for (const signal of SIGNALS) process.off(signal, interrupted)
  }
  for (const signal of SIGNALS) process.once(signal, interrupted)
  try {
    return await work()
  } finally {
    release()
  }
}
