import { execFile } from "node:child_process"

/** The loopback of a network namespace of its own, made slow and lossy by the kernel. */
const SLOW = "ip link set lo up && tc qdisc add dev lo root netem delay 100ms 20ms loss 2%"

/**
 * A command line that runs what follows it in a network namespace of its own, whose loopback has 100 ms with 20 ms
 * jitter and 2 % loss, each way; or why this machine does not allow that.
 */
export async function slowNetwork(): Promise<readonly string[] | string> {
  const refusals: string[] = []
  // As root without a user namespace: some machines allow only one of the two.
  for (const flags of ["-n", "-rn"]) {
    const args = [flags, "sh", "-c"]
    const refusal = await new Promise<string | undefined>((told) => {
      execFile("unshare", [...args, SLOW], (error, _, stderr) =>
        told(error ? stderr.trim() || error.message : undefined),
      )
    })
    if (refusal === undefined) return ["unshare", ...args, `${SLOW} && exec "$@"`, "sh"]
    refusals.push(refusal)
  }
  return [...new Set(refusals)].join("; ")
}
