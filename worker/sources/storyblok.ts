import { toHex } from "../../protocol/bytes.ts"
import { text } from "../rules/pointer.ts"
import { ignored, invalid, isSigned, objectOf, oneEvent, unreadable } from "./checks.ts"
import type { EventKind, SourceAdapter } from "./source.ts"

/**
 * Storyblok: HMAC-SHA1 over the body, in hex. No time is signed and no delivery has an id.
 *
 * What an event is, unless `fields` say otherwise:
 *
 * - `topic`  the header `X-Storyblok-Topic`, such as `story.published`
 * - `type`   `story`, `asset` or `datasource`; of a story's content type nothing is told
 * - `kind`   by the body's `action`. What a release or a pipeline published is not told, nor which stories an experiment
 *            shows: the namespace, as for a folder that says that it is one. Workflows, discussions and users are ignored
 * - `id`     `story_id`, `asset_id`; of a datasource its slug, else its id
 * - `slug`   `full_slug`, where it is told, without the slash at the end that the start page of a folder has
 *
 * @see https://github.com/storyblok/symfony-bundle/blob/main/src/Controller/WebhookController.php
 * @see https://www.storyblok.com/docs/concepts/webhooks
 */

/** What visitors see of a story by each action; undefined: nothing. Any other action counts as update. */
const STORY: Readonly<Record<string, EventKind | undefined>> = {
  published: "publish",
  unpublished: "unpublish",
  deleted: "delete",
  moved: "update",
  saved: undefined,
}

const ASSET: Readonly<Record<string, EventKind | undefined>> = {
  created: "publish",
  restored: "publish",
  replaced: "update",
  deleted: "delete",
}

const kindOf = (
  kinds: Readonly<Record<string, EventKind | undefined>>,
  action: string,
): EventKind | undefined => (Object.hasOwn(kinds, action) ? kinds[action] : "update")

/** What never changes what visitors see; the legacy webhook tells of a workflow by its action alone. */
const ELSEWHERE = ["workflow", "stage", "discussion", "user", "task"]
const STAGE_CHANGED = ["workflow_stage_changed", "stage.changed"]

/** Which kind of thing the body is about, for whoever is told no topic. */
const MEMBERS = {
  experiment_id: "experiment",
  story_id: "story",
  asset_id: "asset",
  datasource_slug: "datasource",
  datasource_id: "datasource",
  release_id: "release",
  branch_id: "pipeline",
  user_id: "user",
} as const

function entityOf(topic: string | undefined, action: string, body: object | undefined): string | undefined {
  if (STAGE_CHANGED.includes(action)) return "workflow"
  const [head, ...rest] = topic?.split(".") ?? []
  if (rest.length > 0) return head
  return Object.entries(MEMBERS).find(([member]) => body && Object.hasOwn(body, member))?.[1]
}

/** Whether what reads like a story holds others: asked for by users, and not documented yet. */
const isFolder = (body: unknown): boolean =>
  text(body, "/is_folder") === "true" || text(body, "/type") === "folder"

export const storyblok: SourceAdapter = {
  type: "storyblok",

  async verify({ headers, body }, context) {
    const signature = headers.get("webhook-signature") ?? ""
    if (!/^[0-9a-f]{40}$/.test(signature)) return invalid("The signature is missing or not 40 hex digits.")
    if (await isSigned(signature, "SHA-1", body, toHex, context)) {
      // Two publishes of one story read the same, byte for byte.
      return { verdict: "verified", replay: "none" }
    }
    return invalid("The signature is by no secret of this source.")
  },

  read(said) {
    const body = objectOf(said)
    const topic = said.headers.get("x-storyblok-topic") ?? undefined
    const action = text(body, "/action") ?? topic?.split(".").slice(1).join(".") ?? ""
    const entity = entityOf(topic, action, body)
    const kind = kindOf(entity === "asset" ? ASSET : STORY, action)
    switch (entity) {
      case "folder":
      case "story": {
        if (!kind) return ignored(`${entity}.${action} changes nothing published`)
        if (!body) return unreadable(undefined, kind)
        const slug = text(body, "/full_slug")?.replace(/\/+$/, "")
        const isModel = entity === "folder" || isFolder(body)
        return oneEvent({
          kind,
          ...(isModel && { isModel }),
          type: "story",
          topic,
          id: text(body, "/story_id"),
          slug: slug === "" ? undefined : slug,
        })
      }
      case "asset":
        if (!body) return unreadable(undefined, kind)
        return oneEvent({ kind: kind ?? "update", type: "asset", topic, id: text(body, "/asset_id") })
      case "datasource": {
        if (!body) return unreadable()
        const id = text(body, "/datasource_slug") ?? text(body, "/datasource_id")
        return oneEvent({ kind: "update", type: "datasource", topic, id })
      }
      case "release":
      case "pipeline":
        return unreadable(`a ${entity} does not say which stories it published`)
      case "experiment":
        return unreadable("an experiment does not say which stories it shows")
      case undefined:
      default:
        return entity !== undefined && ELSEWHERE.includes(entity)
          ? ignored(`${entity}.${action} changes nothing published`)
          : unreadable("neither the topic nor the body says what changed", kind)
    }
  },
}
