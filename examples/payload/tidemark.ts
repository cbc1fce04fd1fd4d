import { createHmac, randomUUID } from "node:crypto"

/**
 * What a collection of Payload CMS 3 tells Tidemark: copy it into your project. It needs nothing to install.
 *
 *     hooks: tidemark({ urlOf: (doc) => `https://www.example.com/blog/${doc.slug}`, later: after })
 */

export interface TidemarkOptions {
  /** `https://<your worker>/v1/hooks/payload`. @default `TIDEMARK_URL` of the environment */
  readonly url?: string
  /** `whsec_…`. @default `TIDEMARK_SECRET` of the environment */
  readonly secret?: string
  /** Where visitors see a document; undefined for one that has no page of its own. */
  // oxlint-disable-next-line typescript/no-explicit-any -- a collection knows its documents' type, this file does not
  readonly urlOf?: (doc: any) => string | undefined
  /**
   * Runs a task once the response is sent: `after` of `next/server`. By then the change is committed, and the function
   * is kept alive. @default at once, without waiting for it
   */
  readonly later?: (task: () => Promise<void>) => void
}

/** How long each attempt may take, in milliseconds. */
const TIMEOUT = 5_000

/** Before each attempt, in milliseconds. Tidemark knows a repetition by its id. */
const PAUSES = [0, 1_000, 5_000]

type Doc = Readonly<Record<string, unknown>>

/** Of Payload's own types, what is used. */
interface HookArgs {
  readonly collection: { readonly slug: string; readonly versions?: unknown }
  readonly context: Record<string, unknown>
  readonly req: {
    readonly locale?: string | null | undefined
    readonly payload: {
      // oxlint-disable-next-line typescript/no-explicit-any -- Payload's own is generic over the project's collections
      findByID(options: any): Promise<unknown>
      readonly logger: { error(message: string): void }
    }
  }
}
interface ChangeArgs extends HookArgs {
  // oxlint-disable-next-line typescript/no-explicit-any -- as above
  readonly doc: any
  // oxlint-disable-next-line typescript/no-explicit-any -- as above
  readonly previousDoc?: any
  readonly operation: "create" | "update"
}
interface BeforeArgs extends HookArgs {
  // oxlint-disable-next-line typescript/no-explicit-any -- as above
  readonly data: any
  // oxlint-disable-next-line typescript/no-explicit-any -- as above
  readonly originalDoc?: any
  readonly operation: "create" | "update"
}

/** The hooks of a collection. One that has hooks of its own adds these to its lists. */
export function tidemark(options: TidemarkOptions = {}) {
  const tell = (args: HookArgs, before: Doc | undefined, after: Doc | undefined, isGone: boolean): void => {
    if (!before && !after) return
    const kind = after ? (before ? "update" : "publish") : isGone ? "delete" : "unpublish"
    const body = JSON.stringify(bodyOf(kind, args, before, after, options))
    const task = () => deliver(body, options, args.req.payload.logger)
    try {
      if (options.later) options.later(task)
      else void task()
    } catch {
      // A script or a job has no response after which anything could come.
      void task()
    }
  }
  return {
    beforeChange: [
      async (args: BeforeArgs) => {
        const { originalDoc, operation } = args
        if (operation === "update" && originalDoc) {
          remembered(args)[keyOf(args, originalDoc)] = await publicOf(args, originalDoc)
        }
        return args.data
      },
    ],
    afterChange: [
      async (args: ChangeArgs) => {
        const { doc, previousDoc, operation } = args
        const [known, key] = [remembered(args), keyOf(args, doc)]
        // Without a look beforehand there is only Payload's word, which is the last draft's.
        const before =
          key in known ? known[key] : operation === "update" ? seen(args, previousDoc) : undefined
        delete known[key]
        if (operation === "create" || !hasDrafts(args) || doc["_status"] === "published") {
          tell(args, before, seen(args, doc), false)
          return doc
        }
        const after = await publicOf(args, doc)
        // Only a draft was saved, beside what is published.
        if (JSON.stringify(before) !== JSON.stringify(after)) tell(args, before, after, false)
        return doc
      },
    ],
    afterDelete: [
      (args: HookArgs & Pick<ChangeArgs, "doc">) => {
        tell(args, seen(args, args.doc), undefined, true)
        return args.doc
      },
    ],
  }
}

const hasDrafts = ({ collection: { versions } }: HookArgs): boolean =>
  typeof versions === "object" && versions !== null && "drafts" in versions && Boolean(versions.drafts)

/** A document of the collection itself, if visitors see it. */
const seen = (args: HookArgs, doc: Doc | null | undefined): Doc | undefined =>
  doc && !doc.deletedAt && (!hasDrafts(args) || doc["_status"] === "published") ? doc : undefined

/**
 * What visitors see of a document now. The collection holds what is published, also while a newer draft is kept
 * beside it; what hooks are given is the newest, whichever it is.
 *
 * @see https://payloadcms.com/docs/versions/drafts
 */
async function publicOf(args: HookArgs, { id, ...doc }: Doc): Promise<Doc | undefined> {
  if (!hasDrafts(args)) return seen(args, { id, ...doc })
  const found = await args.req.payload.findByID({
    collection: args.collection.slug,
    id,
    depth: 0,
    draft: false,
    disableErrors: true,
    overrideAccess: true,
    // The same transaction: what was just written is seen.
    req: args.req,
  })
  return seen(args, found as Doc | null)
}

type Remembered = Record<string, Doc | undefined>

/** What was seen before, from one hook of an operation to the next. */
const remembered = ({ context }: HookArgs): Remembered => (context["tidemark"] ??= {}) as Remembered

const keyOf = ({ collection }: HookArgs, { id }: Doc): string => `${collection.slug}:${String(id)}`

function bodyOf(
  kind: string,
  { collection, req }: HookArgs,
  before: Doc | undefined,
  after: Doc | undefined,
  { urlOf }: TidemarkOptions,
): object {
  // Of what is gone, the address at which it was.
  const now = after ?? before ?? {}
  const slugOf = (doc: Doc | undefined) => (typeof doc?.slug === "string" ? doc.slug : undefined)
  const [slug, previousSlug] = [slugOf(now), slugOf(before)]
  const [url, previousUrl] = [urlOf?.(now), before && urlOf?.(before)]
  return {
    type: `${collection.slug}.${kind}`,
    timestamp: new Date().toISOString(),
    data: {
      kind,
      type: collection.slug,
      id: now.id,
      locale: req.locale && req.locale !== "all" ? req.locale : undefined,
      slug,
      previous_slug: previousSlug === slug ? undefined : previousSlug,
      url,
      previous_url: previousUrl === url ? undefined : previousUrl,
    },
  }
}

/**
 * Signed by Standard Webhooks.
 *
 * @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
async function deliver(
  body: string,
  { url = process.env.TIDEMARK_URL, secret = process.env.TIDEMARK_SECRET }: TidemarkOptions,
  logger: { error(message: string): void },
): Promise<void> {
  if (!url || !secret) return logger.error("Tidemark: TIDEMARK_URL or TIDEMARK_SECRET is not set")
  const id = `msg_${randomUUID()}`
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64")
  let reason = ""
  for (const pause of PAUSES) {
    if (pause > 0) await new Promise((over) => setTimeout(over, pause))
    const time = String(Math.floor(Date.now() / 1_000))
    const signature = createHmac("sha256", key).update(`${id}.${time}.${body}`).digest("base64")
    try {
      const { status } = await fetch(url, {
        method: "POST",
        redirect: "manual",
        signal: AbortSignal.timeout(TIMEOUT),
        headers: {
          "content-type": "application/json",
          "webhook-id": id,
          "webhook-timestamp": time,
          "webhook-signature": `v1,${signature}`,
        },
        body,
      })
      if (status >= 200 && status <= 299) return
      reason = String(status)
    } catch (error) {
      reason = error instanceof Error ? error.message : "no answer"
    }
  }
  logger.error(`Tidemark: ${id} was not taken: ${reason}`)
}
