import { toHex } from "../../protocol/bytes.ts"
import { compact, MAX_SELECTORS } from "../../protocol/invalidation.ts"
import { matchesText } from "../rules/match.ts"
import { find, text, texts } from "../rules/pointer.ts"
import { ignored, invalid, isSigned, objectOf, oneEvent, unreadable } from "./checks.ts"
import type { EventKind, Reading, SourceAdapter, SourceContext } from "./source.ts"

/**
 * GitHub: HMAC-SHA256 over the body, in hex. The older SHA-1 header is not looked at.
 *
 * What an event is, unless `fields` say otherwise:
 *
 * - `topic`        the header `X-GitHub-Event`, with the body's `action` where there is one: `push`,
 *                  `deployment_status.created`
 * - `kind`         of a push one event for each changed file: publish, update or delete; of a deployment that
 *                  succeeded and of a built GitHub Pages site `deploy`; of anything else `delete` where something was
 *                  deleted or is no longer public, else `update`
 * - `type`         of a file its extension, `file` where it has none; of what is neither a push nor a deploy the header's
 *                  own word, such as `release`
 * - `slug`         of a file its path without the extension
 * - `id`           none: no page is labelled by what stands here, and without rules everything is concerned
 * - `environment`  of a push the branch, or the whole ref of what is none; of a deployment its environment
 * - `version`      the commit
 *
 * @see https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
 * @see https://docs.github.com/en/webhooks/webhook-events-and-payloads
 */

const BRANCH = "refs/heads/"

/** What became of a file by each list of a commit. */
const CHANGES = { added: "publish", modified: "update", removed: "delete" } as const

/** The changed files of a push and what became of each; undefined where the delivery does not tell them all. */
function readFiles(body: unknown): ReadonlyMap<string, EventKind> | undefined {
  const isMoved = ["forced", "created", "deleted"].some((flag) => text(body, `/${flag}`) !== "false")
  const commits = find(body, "/commits/*")
  // Where lists are cut off, it is far above what can be told apart here. The newest commit comes last.
  if (isMoved || commits.length >= MAX_SELECTORS) return undefined
  if (text(commits.at(-1), "/id") !== text(body, "/after")) return undefined
  const files = new Map<string, EventKind>()
  for (const commit of commits) {
    for (const [list, kind] of Object.entries(CHANGES)) {
      for (const path of texts(find(commit, `/${list}`))) {
        // What one branch removed and another one changed comes in either order: it may be gone.
        if (kind !== "update" || files.get(path) !== "delete") files.set(path, kind)
        if (files.size > MAX_SELECTORS) return undefined
      }
    }
  }
  return files
}

function readPush(body: unknown, { config }: SourceContext): Reading {
  const ref = text(body, "/ref")
  const environment = ref?.startsWith(BRANCH) ? ref.slice(BRANCH.length) : ref
  const version = text(body, "/after")
  const files = readFiles(body)
  if (!files) {
    // No rule could say more of it than that it concerns everything; but not what another branch is published from.
    const { environments = ["*"], fields } = config
    const isElsewhere =
      // Of a push that does not even tell its head, nothing else is certain either.
      version !== undefined &&
      environment !== undefined &&
      fields?.["environment"] === undefined &&
      !environments.some((pattern) => matchesText(pattern, environment))
    const isRemoving = text(body, "/deleted") === "true" || find(body, "/commits/*/removed/*").length > 0
    return isElsewhere
      ? ignored("the branch is none of this source's environments")
      : unreadable("the push does not tell every file that changed", isRemoving ? "delete" : undefined)
  }
  // A commit can be empty, to make something run.
  if (files.size === 0) return oneEvent({ kind: "deploy", topic: "push", environment, version })
  const events = [...files].map(([path, kind]) => {
    const [, slug = path, type = "file"] = /^(.*[^/])\.([^./]+)$/.exec(path) ?? []
    return compact({ kind, type, slug, topic: "push", environment, version })
  })
  return { reading: "events", events }
}

/** What must no longer be seen, by the last word of a topic. */
const GONE = /(?:^|\.)(?:deleted?|unpublished|privatized)$/

export const github: SourceAdapter = {
  type: "github",

  async verify({ headers, body }, context) {
    // In capitals too, as in GitHub's own library.
    const [, mac] = /^sha256=([0-9a-fA-F]{64})$/.exec(headers.get("x-hub-signature-256") ?? "") ?? []
    if (mac === undefined) return invalid("The signature is missing or not of the form sha256=….")
    if (!(await isSigned(mac.toLowerCase(), "SHA-256", body, toHex, context))) {
      return invalid("The signature is by no secret of this source.")
    }
    // Not signed, so that it counts together with the body. A delivery that is sent again by hand keeps it.
    const deliveryId = headers.get("x-github-delivery") ?? ""
    return deliveryId === ""
      ? { verdict: "verified", replay: "none" }
      : { verdict: "verified", deliveryId, replay: "body-hash" }
  },

  read(said, context) {
    const name = said.headers.get("x-github-event") ?? ""
    if (name === "ping") return ignored("GitHub tried the address")
    const body = objectOf(said)
    const action = text(body, "/action")
    const topic = action === undefined ? name : `${name}.${action}`
    const kind = GONE.test(topic) ? "delete" : "update"
    if (!body) return unreadable(undefined, kind)
    switch (name) {
      case "":
        return unreadable("no event says what happened", kind)
      case "push":
        return readPush(body, context)
      case "deployment":
      case "deployment_status": {
        const state = text(body, "/deployment_status/state")
        if (state !== "success") return ignored(`the deployment is ${state ?? "only asked for"}`)
        return oneEvent({
          kind: "deploy",
          topic,
          environment: text(body, "/deployment/environment"),
          version: text(body, "/deployment/sha"),
        })
      }
      case "page_build": {
        const status = text(body, "/build/status")
        if (status !== "built") return ignored(`the build is ${status ?? "of no status"}`)
        return oneEvent({
          kind: "deploy",
          topic,
          environment: "github-pages",
          version: text(body, "/build/commit"),
        })
      }
      default:
        return oneEvent({ kind, type: name, topic })
    }
  },
}
