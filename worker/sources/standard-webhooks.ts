import { concatBytes, constantTimeEqual, fromBase64, hmac, utf8 } from "../../protocol/bytes.ts"
import { compact } from "../../protocol/invalidation.ts"
import { parseWebhookSecret, signedPrefix } from "../../protocol/standard-webhooks.ts"
import { SECOND } from "../../protocol/time.ts"
import { find, text, texts } from "../rules/pointer.ts"
import { invalid, isTagList, objectOf, secretsOf, timely, unreadable } from "./checks.ts"
import type { EventKind, SourceAdapter, SourceEvent } from "./source.ts"

/**
 * Standard Webhooks, v1 (HMAC-SHA256) and v1a (Ed25519).
 *
 * What an event is, unless `fields` say otherwise:
 *
 * - `topic`  the body's whole `type`, such as `post.published`
 * - `kind`   from its last word by the table below, else `update`; `tags` for a body that has tags and nothing else
 * - `type`   what stands before that word (`post`); the whole topic where the last word is not in the table
 * - `id`, `slug`, `tags`  from `data`
 *
 * @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */

const PUBLIC_KEY = "whpk_"
const PUBLIC_KEY_BYTES = 32

/** workerd throws for a signature of any other length, where Node says no. */
const ED25519_BYTES = 64

/** Ours, not theirs: a signature costs a verification, and whoever sends it is not known yet. */
const MAX_SIGNATURES = 16

/** Strict: `parseInt` would read "1614265330abc", which is not what was signed for. */
const SECONDS = /^[1-9]\d{0,11}$/

interface Signature {
  readonly version: string
  readonly bytes: Uint8Array<ArrayBuffer>
}

/** The space-delimited list, without what is not strict base64. */
function parseSignatures(list: string): Signature[] {
  const entries = list.split(" ", MAX_SIGNATURES).map((entry) => {
    const comma = entry.indexOf(",")
    return {
      version: entry.slice(0, comma),
      bytes: comma > 0 ? fromBase64(entry.slice(comma + 1)) : undefined,
    }
  })
  return entries.filter((entry): entry is Signature => entry.bytes !== undefined)
}

/** Whether any of the signatures is by this secret, which alone says by which version they must be. */
async function isSignedBy(
  secret: string,
  signatures: readonly Signature[],
  signed: Uint8Array<ArrayBuffer>,
): Promise<boolean> {
  if (!secret.startsWith(PUBLIC_KEY)) {
    const key = parseWebhookSecret(secret)
    if (!key) return false
    const mac = await hmac("SHA-256", key, signed)
    return signatures.some(({ version, bytes }) => version === "v1" && constantTimeEqual(bytes, mac))
  }
  const raw = fromBase64(secret.slice(PUBLIC_KEY.length))
  if (raw?.length !== PUBLIC_KEY_BYTES) return false
  const key = await crypto.subtle.importKey("raw", raw, { name: "Ed25519" }, false, ["verify"])
  for (const { version, bytes } of signatures) {
    if (version !== "v1a" || bytes.length !== ED25519_BYTES) continue
    if (await crypto.subtle.verify("Ed25519", key, bytes, signed)) return true
  }
  return false
}

/** The last words of a type that say what happened. */
const KINDS: Readonly<Record<string, EventKind>> = {
  publish: "publish",
  published: "publish",
  republished: "publish",
  unpublish: "unpublish",
  unpublished: "unpublish",
  archive: "unpublish",
  archived: "unpublish",
  delete: "delete",
  deleted: "delete",
  remove: "delete",
  removed: "delete",
  create: "update",
  created: "update",
  update: "update",
  updated: "update",
  change: "update",
  changed: "update",
  edited: "update",
  modified: "update",
  saved: "update",
  renamed: "update",
  restored: "update",
  deploy: "deploy",
  deployed: "deploy",
}

/** What ends a deploy; only after a first word that says that it is one. */
const DEPLOYS =
  /^(?:deploy|deployment|build)[./:_-](?:.*[./:_-])?(?:succeeded|success|ready|finished|completed|promoted)$/i

/** Splits `post.published` into its type and kind. Words are parted by any of `. / : _ -`. */
function readTopic(topic: string): Pick<SourceEvent, "kind" | "type"> {
  const last = topic.split(/[./:_-]/).at(-1) ?? ""
  const kind = Object.hasOwn(KINDS, last.toLowerCase()) ? KINDS[last.toLowerCase()] : undefined
  if (kind === undefined && !DEPLOYS.test(topic)) return { kind: "update", type: topic }
  const type = topic.slice(0, -last.length - 1)
  return { kind: kind ?? "deploy", ...(type === "" ? {} : { type }) }
}

/** What the names of the three headers start with: Svix signs the same text, and has names of its own besides. */
type HeaderFamily = "webhook" | "svix"

/** A source by this scheme. @param families the first of them that signed counts, and alone */
export const signedByStandardWebhooks = (
  type: SourceAdapter["type"],
  families: readonly [HeaderFamily, ...HeaderFamily[]],
): SourceAdapter => ({
  type,

  async verify({ headers, body }, context) {
    const family = families.find((each) => headers.has(`${each}-signature`)) ?? families[0]
    const id = headers.get(`${family}-id`) ?? ""
    const timestamp = headers.get(`${family}-timestamp`) ?? ""
    if (id === "") return invalid("The id of the delivery is missing.")
    if (!SECONDS.test(timestamp)) return invalid("The timestamp is missing or not in whole seconds.")
    const signatures = parseSignatures(headers.get(`${family}-signature`) ?? "")
    const signed = concatBytes(utf8(signedPrefix(id, timestamp)), body)
    for (const secret of secretsOf(context)) {
      if (await isSignedBy(secret, signatures, signed)) {
        const verified = { verdict: "verified", deliveryId: id, replay: "delivery-id" } as const
        return timely(Number(timestamp) * SECOND, context, verified)
      }
    }
    return invalid("No signature is by a secret of this source.")
  },

  read(said) {
    const body = objectOf(said)
    if (!body) return unreadable()
    const topic = text(body, "/type")
    if (topic === undefined && body["data"] === undefined && isTagList(body["tags"])) {
      return { reading: "events", events: [{ kind: "tags", tags: body["tags"] }] }
    }
    const tags = texts(find(body, "/data/tags"))
    const event = compact({
      ...(topic === undefined ? { kind: "update" as const } : readTopic(topic)),
      topic,
      id: text(body, "/data/id"),
      slug: text(body, "/data/slug"),
      tags: tags.length > 0 ? tags : undefined,
    })
    return { reading: "events", events: [event] }
  },
})

export const standardWebhooks = signedByStandardWebhooks("standard-webhooks", ["webhook", "svix"])
