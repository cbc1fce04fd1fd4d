import { constantTimeEqual, fromBase64, hmac, utf8 } from "../../protocol/bytes.ts"
import { compact } from "../../protocol/invalidation.ts"
import { find, text, texts } from "../rules/pointer.ts"
import { invalid, objectOf, secretsOf, unreadable } from "./checks.ts"
import { readOurBody } from "./our-body.ts"
import type { EventKind, Reading, Said, SourceAdapter, SourceContext, SourceEvent } from "./source.ts"
import { standardWebhooks } from "./standard-webhooks.ts"

/**
 * WordPress, which has no webhooks of its own, by either of two plugins. The secret's form says which, never the
 * delivery: `whsec_…` is our own one (`examples/wordpress/`), signed by Standard Webhooks; any other is WP Webhooks,
 * which signs the body alone.
 *
 * What an event of WP Webhooks is, unless `fields` say otherwise:
 *
 * - `topic`  the trigger, from the header `X-WP-Webhook-Name`, such as `post_update`
 * - `kind`   by the trigger, the post's status and the one before, see `kindOf`
 * - `type`, `id`, `slug`, `previousSlug`, `url`  of the post
 * - `tags`   `term-<id>` for each term of its taxonomies
 *
 * @see https://github.com/Ironikus/wp-webhooks/blob/master/core/includes/classes/class-wp-webhooks-pro-webhook.php
 */

const PREFIX = "whsec_"

/** With a secret of ours no other kind of secret verifies anything: two forms would need a guess which it was. */
const isOurs = (context: SourceContext): boolean =>
  secretsOf(context).some((secret) => secret.startsWith(PREFIX))

const SHA256_BYTES = 32

/** What the plugin tells from what it shows: never to a reader without a login. */
const HIDDEN: readonly string[] = ["draft", "auto-draft", "pending", "future", "private", "trash"]

/** WordPress keeps the name of a post in the trash free for others by this. */
const TRASHED = "__trashed"

/** What a trigger says by itself: `post_delete`, `post_trash`, and what else the plugin's users call so. */
function goneBy(trigger: string): EventKind | undefined {
  const [, word] = /(?:^|_)(delete|trash)/.exec(trigger) ?? []
  if (word === undefined) return undefined
  return word === "delete" ? "delete" : "unpublish"
}

/**
 * What became of a post. undefined: nothing that could be seen.
 *
 * @param before its status before; undefined where nobody says
 */
function kindOf(trigger: string, status: string, before: string | undefined): EventKind | undefined {
  if (status === "auto-draft") return undefined
  const gone = goneBy(trigger)
  if (gone) return gone
  const wasHidden = before === undefined ? trigger === "post_create" : HIDDEN.includes(before)
  if (HIDDEN.includes(status)) return wasHidden ? undefined : "unpublish"
  return wasHidden ? "publish" : "update"
}

/** The address at which it was, or is, seen; undefined where the permalink is only that of a preview. */
function urlOf(permalink: string | undefined, slug: string | undefined, status: string): string | undefined {
  if (permalink === undefined) return undefined
  if (status === "trash" && slug !== undefined) return permalink.replace(slug + TRASHED, slug)
  return HIDDEN.includes(status) && /[?&](?:p|page_id|attachment_id)=/.test(permalink) ? undefined : permalink
}

function readPlugin(said: Said): Reading {
  const body = objectOf(said)
  const trigger = said.headers.get("x-wp-webhook-name") ?? ""
  if (!body) return unreadable("the body is no JSON object: is the plugin set to send JSON?", goneBy(trigger))
  const type = text(body, "/post/post_type")
  const status = text(body, "/post/post_status")
  const id = text(body, "/post/ID") ?? text(body, "/post_id")
  if (type === undefined || status === undefined || id === undefined) {
    return unreadable("it tells of no post", goneBy(trigger))
  }
  // Several posts that are saved at once are all told with the last one's `post_before`.
  const isItsOwn = text(body, "/post_before/ID") === id
  const before = isItsOwn ? text(body, "/post_before/post_status") : undefined
  const kind = type === "revision" ? undefined : kindOf(trigger, status, before)
  if (!kind) return { reading: "ignored", note: `a ${type} that is ${status} was not to be seen` }
  const slug = withoutSuffix(text(body, "/post/post_name"))
  const previousSlug = isItsOwn ? withoutSuffix(text(body, "/post_before/post_name")) : undefined
  const terms = texts(find(body, "/taxonomies/*/*/term_id"))
  const event: SourceEvent = compact({
    kind,
    type,
    id,
    slug,
    previousSlug: previousSlug === slug ? undefined : previousSlug,
    url: urlOf(text(body, "/post_permalink"), slug, status),
    topic: trigger === "" ? undefined : trigger,
    tags: terms.length > 0 ? terms.map((term) => `term-${term}`) : undefined,
  })
  return { reading: "events", events: [event] }
}

const withoutSuffix = (name: string | undefined): string | undefined =>
  name?.endsWith(TRASHED) ? name.slice(0, -TRASHED.length) : name

export const wordpress: SourceAdapter = {
  type: "wordpress",

  async verify(delivery, context) {
    if (isOurs(context)) {
      const secret = secretsOf(context).filter((each) => each.startsWith(PREFIX))
      return standardWebhooks.verify(delivery, { ...context, config: { ...context.config, secret } })
    }
    const { headers, body } = delivery
    const signature = fromBase64(headers.get("x-wp-webhook-signature") ?? "")
    if (signature?.length !== SHA256_BYTES) {
      return invalid("The signature is missing, or not the base64 of 32 bytes: has the webhook a secret?")
    }
    for (const secret of secretsOf(context)) {
      if (!constantTimeEqual(await hmac("SHA-256", utf8(secret), body), signature)) continue
      // The trigger is not signed, and two of them may tell of one post in the same words.
      const deliveryId = headers.get("x-wp-webhook-name") ?? ""
      const tellsTime = /"post_modified_gmt"\s*:/.test(new TextDecoder().decode(body))
      return tellsTime
        ? { verdict: "verified", deliveryId, replay: "body-hash" }
        : { verdict: "verified", replay: "none" }
    }
    return invalid("The signature is by no secret of this source.")
  },

  read: (said, context) => (isOurs(context) ? readOurBody(said) : readPlugin(said)),
}
