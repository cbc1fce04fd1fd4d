import type { Command } from "commander"
import { parseAccepted, showOutcome } from "../accepted.ts"
import { addYesOption, confirm, type ConfirmOptions } from "../confirm.ts"
import { CliError, type ExitCode, exitsWith } from "../exit.ts"
import { ALL_EXITS, addHelp } from "../help.ts"
import { send } from "../http.ts"
import { addInvalidationOptions, invalidationOf, type InvalidationOptions } from "../invalidation.ts"
import { type AddressOptions, addCommonOptions, connectionOf } from "../options.ts"
import { type Wait, waitOption } from "../wait.ts"

interface PublishOptions extends Omit<AddressOptions, "url">, InvalidationOptions, ConfirmOptions {
  readonly idempotencyKey?: string
  readonly wait?: Wait
}

/** `tidemark publish`: one invalidation, and with `--wait` what becomes of it. */
export function addPublish(program: Command): void {
  const command = program
    .command("publish")
    .summary("invalidate a namespace, or some tags, urls, prefixes or hosts of it")
    .description("Publishes one invalidation: a whole namespace, or what is selected of it.")
    .argument("[namespace]", "the namespace; left out with --everything")
  addInvalidationOptions(command)
    .option(
      "--idempotency-key <key>",
      "the same key and request is one invalidation, however often it is sent",
    )
    .addOption(waitOption("wait until every target is done"))
  addYesOption(command)
  addCommonOptions(command, "selects").action(exitsWith(publish))
  addHelp(command, {
    notes: [
      "Without a tag, url, prefix or host the whole namespace is meant. A duration is 500ms, 30s, 5m, 24h or 0.",
      "With --everything it asks on a terminal, and needs --yes where there is none.",
    ],
    examples: [
      ["tidemark publish blog --tag post-42 --tag type-post", "two tags"],
      [
        "tidemark publish blog --url https://www.example.com/blog/a --mode purge",
        "a page, never served again",
      ],
      ["tidemark publish blog --wait", "the whole namespace; ends when it is purged"],
      ["tidemark publish --everything --yes --reason 'new layout'", "all there is"],
    ],
    environment: ["TIDEMARK_URL", "TIDEMARK_TOKEN", "TIDEMARK_CONFIG"],
    exits: ALL_EXITS,
  })
}

async function publish(namespace: string | undefined, options: PublishOptions): Promise<ExitCode> {
  const body = invalidationOf(namespace, options)
  const { idempotencyKey: key } = options
  if (key !== undefined && !/^[\x20-\x7e]{1,255}$/.test(key)) {
    throw new CliError("usage", "--idempotency-key must be 1 to 255 printable ASCII characters")
  }
  const connection = connectionOf(options)
  if (options.everything) {
    const how =
      options.mode === "purge" ? "It is never served again" : "It may be served while it is revalidated"
    await confirm(options, () => [
      `This invalidates every namespace of the tenant, in every target and at request time, by ${connection.url.href}.`,
      `${how}; caches fill again from the origin, which has to bear that.`,
    ])
  }
  const accepted = await send(connection, {
    method: "POST",
    path: "v1/invalidations",
    body,
    ...(key === undefined ? {} : { headers: { "idempotency-key": key } }),
  })
  return showOutcome(connection, parseAccepted(connection, accepted), options)
}
