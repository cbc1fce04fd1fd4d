import { fromBase64, parseJsonBytes } from "../../protocol/bytes.ts"
import { compact } from "../../protocol/invalidation.ts"
import { Problem } from "../../protocol/errors.ts"
import { HOUR, MINUTE, type Milliseconds, SECOND } from "../../protocol/time.ts"
import { text } from "../rules/pointer.ts"
import { invalid, objectOf, secretsOf, unreadable } from "./checks.ts"
import type { Delivery, EventKind, SourceAdapter, SourceContext } from "./source.ts"

/**
 * Adobe I/O Events, by which Adobe Commerce and others tell: RSASSA-PKCS1-v1_5 with SHA-256 over the body, by keys that
 * Adobe publishes. The same keys sign for all of Adobe's customers, so what makes a delivery one's own is
 * `recipient_client_id` in the body: the source's secret holds that client id.
 *
 * What an event is, unless `fields` say otherwise:
 *
 * - `topic`  the body's `type`, such as `com.adobe.commerce.observer.catalog_product_save_commit_after`
 * - `kind`   by its last word; `unpublish` for what was saved as disabled
 * - `type`   what stands before that word, without `com.adobe.commerce.observer.` and the app that may stand in there:
 *            `catalog_product`
 * - `id`, `slug`, `previousSlug`  from `data.value`: `entity_id` and the like, `url_key`, that of `_origData`; the id of
 *            what Experience Manager tells of is its path. Of what was moved there no earlier path is told, nor what
 *            lies below: everything is concerned, as it is by a changed model of fragments
 *
 * @see https://developer.adobe.com/events/docs/guides/#security-considerations
 * @see https://github.com/adobe/aio-lib-events/blob/master/src/signatureUtils.js
 */

/** Adobe's, and fixed: only the path comes from the delivery. */
const KEYS_ORIGIN = "https://static.adobeioevents.com"

/** As documented: `/prod/keys/pub-key-<random-uuid>.pem`. */
const KEY_PATH = /^\/prod\/keys\/pub-key-[\w-]{1,64}\.pem$/

/** Ours. Adobe allows no more than 24 hours. */
const KEY_LIFE: Milliseconds = HOUR

/** Ours: so long nobody is asked again for a key that there is not. */
const NO_KEY_LIFE: Milliseconds = MINUTE

/** Ours. Adobe waits 10 s for our answer, making the connection included. */
const FETCH_TIMEOUT: Milliseconds = 3 * SECOND

/** Ours: a key of 4,096 bits has some 800. */
const MAX_KEY_BYTES = 8 * 1024

/** Ours: there are two keys at a time. */
const MAX_KEYS = 32

const RSA = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }

/** Keys by path, for as long as the isolate lives; undefined where Adobe has none of that name. */
const keys = new Map<string, { readonly key: CryptoKey | undefined; readonly until: Milliseconds }>()

/**
 * The public key at a path of Adobe's; undefined where there is none.
 *
 * @throws {Error} where that cannot be told now
 */
async function keyAt(path: string, { now, fetch }: SourceContext): Promise<CryptoKey | undefined> {
  const known = keys.get(path)
  if (known && now() < known.until) return known.key
  const signal = AbortSignal.timeout(FETCH_TIMEOUT)
  const response = await fetch(KEYS_ORIGIN + path, { redirect: "manual", signal })
  // The bucket behind it answers 403 for a name that it does not hold.
  const isUnknown = response.status === 404 || response.status === 403
  if (!isUnknown && response.status !== 200) throw new Error(`the key was answered ${response.status}`)
  const key = isUnknown ? undefined : await importKey(await readKey(response))
  keys.delete(path)
  const [oldest] = keys.keys()
  if (keys.size >= MAX_KEYS && oldest !== undefined) keys.delete(oldest)
  keys.set(path, { key, until: now() + (key ? KEY_LIFE : NO_KEY_LIFE) })
  return key
}

async function readKey({ body }: Response): Promise<string> {
  const decoder = new TextDecoder()
  let pem = ""
  for await (const part of body ?? []) {
    pem += decoder.decode(part, { stream: true })
    if (pem.length > MAX_KEY_BYTES) throw new Error("the key is too long")
  }
  return pem
}

async function importKey(pem: string): Promise<CryptoKey> {
  const [, base64 = ""] =
    /-----BEGIN PUBLIC KEY-----([\sA-Za-z0-9+/=]+)-----END PUBLIC KEY-----/.exec(pem) ?? []
  const spki = fromBase64(base64.replaceAll(/\s/g, ""))
  if (!spki?.length) throw new Error("the key is no public key in PEM")
  return crypto.subtle.importKey("spki", spki, RSA, false, ["verify"])
}

/** Whether one of the two signatures is by the key whose path stands beside it. */
async function isSignedAs(n: 1 | 2, { headers, body }: Delivery, context: SourceContext): Promise<boolean> {
  const signature = fromBase64(headers.get(`x-adobe-digital-signature-${n}`) ?? "")
  const path = headers.get(`x-adobe-public-key${n}-path`) ?? ""
  if (!signature?.length || !KEY_PATH.test(path)) return false
  const key = await keyAt(path, context)
  return key !== undefined && (await crypto.subtle.verify(RSA.name, key, signature, body))
}

const ACTIONS: Readonly<Record<string, EventKind>> = {
  save: "update",
  saved: "update",
  create: "update",
  created: "update",
  update: "update",
  updated: "update",
  modified: "update",
  moved: "update",
  variation: "update",
  publish: "publish",
  published: "publish",
  unpublish: "unpublish",
  unpublished: "unpublish",
  delete: "delete",
  deleted: "delete",
  remove: "delete",
  removed: "delete",
}

/**
 * What comes before what Commerce tells of; the id of an app where that app subscribed by Adobe's library for them.
 *
 * @see https://github.com/adobe/aio-commerce-sdk
 */
const COMMERCE = /^com\.adobe\.commerce\.(?:(?:\w+\.)?(?:observer|plugin)\.)?/

const MODEL = /^aem\..+(?:model\.\w+|\.moved)$/i

/** Splits `com.adobe.commerce.observer.catalog_product_save_commit_after` into what it concerns and what happened. */
function readTopic(topic: string): { readonly kind: EventKind; readonly type: string } {
  const subject = topic.replace(COMMERCE, "").replace(/_(?:commit_)?(?:after|before)$/, "")
  const [, type = "", action = ""] = /^(.+)[._]([a-z]+)$/i.exec(subject) ?? []
  const kind = Object.hasOwn(ACTIONS, action.toLowerCase()) ? ACTIONS[action.toLowerCase()] : undefined
  return kind ? { kind, type } : { kind: "update", type: subject }
}

/** Where Commerce keeps the id of a product, a category, a page or a block, in the order in which they are tried. */
const IDS = ["entity_id", "category_id", "page_id", "block_id", "id", "sku"]

/** Where Commerce says that something is not to be seen: of a product `status` 2, of all others `is_active` 0. */
const isDisabled = (value: (name: string) => string | undefined): boolean =>
  value("status") === "2" || ["0", "false"].includes(value("is_active") ?? "")

export const adobeIoEvents: SourceAdapter = {
  type: "adobe-io-events",

  async verify(delivery, context) {
    // Before anybody is asked for a key: what is not meant for us is refused whoever signed it.
    const body = parseJsonBytes(delivery.body)
    const recipient = text(body, "/recipient_client_id")
    if (recipient === undefined || !secretsOf(context).includes(recipient)) {
      return invalid("The body's recipient_client_id is none of this source's.")
    }
    const results = await Promise.allSettled([
      isSignedAs(1, delivery, context),
      isSignedAs(2, delivery, context),
    ])
    if (results.some((result) => result.status === "fulfilled" && result.value)) {
      // Both stand in what is signed, and so in each repetition.
      const deliveryId = text(body, "/event_id") ?? text(body, "/id")
      return deliveryId === undefined
        ? { verdict: "verified", replay: "none" }
        : { verdict: "verified", deliveryId, replay: "delivery-id" }
    }
    const failed = results.find((result) => result.status === "rejected")
    // Not a 401: Adobe never repeats what was refused, and this may be right.
    if (failed)
      throw new Problem("internal", "Adobe's public key cannot be had now.", { cause: failed.reason })
    return invalid("Neither of the two signatures is by the key that is named beside it.")
  },

  read(said) {
    const body = objectOf(said)
    if (!body) return unreadable()
    const topic = text(body, "/type") ?? said.headers.get("x-adobe-event-code") ?? ""
    if (topic === "") return unreadable("neither the body nor a header says what happened")
    const data = ["/data", "/event/data"].find((at) => text(body, `${at}/value/*`) !== undefined) ?? "/data"
    const value = (name: string) => text(body, `${data}/value/${name}`)
    const told = readTopic(topic)
    const slug = value("url_key") ?? value("identifier")
    const previousSlug = value("_origData/url_key") ?? value("_origData/identifier")
    const event = compact({
      ...told,
      ...(MODEL.test(topic) && { isModel: true as const }),
      kind: told.kind === "update" && isDisabled(value) ? ("unpublish" as const) : told.kind,
      id: IDS.map(value).find((id) => id !== undefined) ?? text(body, "/data/path"),
      slug,
      previousSlug: previousSlug === slug ? undefined : previousSlug,
      topic,
    })
    return { reading: "events", events: [event] }
  },

  // It is echoed, so it must be nothing but what Adobe sends: a UUID.
  challenge(query) {
    const challenge = query.get("challenge") ?? ""
    return /^[0-9A-Za-z-]{1,128}$/.test(challenge) ? challenge : undefined
  },
}
