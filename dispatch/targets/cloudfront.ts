import { cloudfront as cloudfrontTags } from "../../protocol/tag-rules.ts"
import { type Milliseconds, SECOND } from "../../protocol/time.ts"
import { type Answer, ask, baseAddress, beyond, type Reading, tidy, verdict, withWildcard } from "./answer.ts"
import { type AwsCredentials, signed } from "./sigv4.ts"
import { driverOf } from "./driver.ts"
import type {
  Batch,
  Capabilities,
  KindCapability,
  Outcome,
  TargetConfigOf,
  TargetDriver,
  TargetTraits,
  Value,
} from "./target.ts"

/** @see https://docs.aws.amazon.com/general/latest/gr/cf_region.html */
const BASE_URL = "https://cloudfront.amazonaws.com"
/** CloudFront is one service for the whole world, and signed for as one in this region. */
const SCOPE = { region: "us-east-1", service: "cloudfront" }

/** The version of the API: both in its addresses and the namespace of its XML. */
const VERSION = "2020-05-31"

/**
 * Paths, and paths that end in `*`, that may be in progress for a distribution at once. Whether tags count among the
 * former is not published: they are counted.
 *
 * @see https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/InvalidationLimits.html
 */
const MAX_PATHS = 3_000
const MAX_WILDCARDS = 15

/** Ours, of 3,000: a call of them all would wait until no other was in progress. */
const MAX_ITEMS = 1_000

/**
 * Where AWS itself says that it is too busy, and not for how long; ours, as an invalidation completes within 25 s for
 * all but one in twenty.
 *
 * @see https://aws.amazon.com/about-aws/whats-new/2026/04/cloudfront-invalidation-cache-tag/
 */
const COMPLETES: Milliseconds = 25 * SECOND

/** Beyond the 1,000 of each month that are free. @see https://aws.amazon.com/cloudfront/pricing/ */
const DOLLARS_A_PATH = 0.005

type Config = TargetConfigOf<"cloudfront">

const hard = (batch: number): KindCapability => ({ modes: ["purge"], batch })

function capabilitiesOf(hasTags: boolean): Capabilities {
  return {
    kinds: {
      url: hard(MAX_ITEMS),
      prefix: hard(MAX_WILDCARDS),
      everything: hard(1),
      ...(hasTags ? { tag: hard(MAX_ITEMS) } : {}),
    },
    mixed: false,
    tags: cloudfrontTags.codec,
    isIdempotent: true,
    dollarsPerValue: DOLLARS_A_PATH,
    propagation: COMPLETES,
  }
}

/**
 * CloudFront's invalidations: always hard, by path and not by host. `endpoint` stands in for
 * `https://cloudfront.amazonaws.com`, and its host is the one that is signed for.
 */
export const cloudfrontTraits: TargetTraits<Config> = {
  type: "cloudfront",
  capabilities: ({ tags = false }) => capabilitiesOf(tags),
  // Redis counts from before a call begins, CloudFront from when it arrives.
  pace: ({ distribution, completesIn, timeout, maxPathsPerMonth }) => [
    {
      limit: "inProgress",
      bucket: `paths:${distribution}`,
      kinds: ["url", "tag"],
      per: "value",
      most: MAX_PATHS,
      lasting: completesIn + timeout,
    },
    {
      limit: "inProgress",
      bucket: `wildcards:${distribution}`,
      kinds: ["prefix", "everything"],
      per: "value",
      most: MAX_WILDCARDS,
      lasting: completesIn + timeout,
    },
    ...(maxPathsPerMonth === undefined
      ? []
      : [
          {
            limit: "budget" as const,
            bucket: "paths",
            kinds: ["url", "tag", "prefix", "everything"] as const,
            perMonth: maxPathsPerMonth,
          },
        ]),
  ],
}

/** How it is asked. */
export const cloudfront: TargetDriver<Config> = /* @__PURE__ */ driverOf(
  cloudfrontTraits,
  ({ endpoint, distribution, tags, accessKeyId, secretAccessKey, sessionToken }, surroundings) => {
    const { base, host } = baseAddress("endpoint", endpoint ?? BASE_URL)
    const credentials = { accessKeyId, secretAccessKey, sessionToken }
    check(credentials)
    const capabilities = capabilitiesOf(tags)
    const url = `${base}/${VERSION}/distribution/${distribution}/invalidation`
    const secrets = Object.values(credentials).filter((secret) => secret !== undefined)
    return {
      async purge(batch, signal) {
        const unsupported = beyond(capabilities, batch) ?? withWildcard(batch)
        if (unsupported) return unsupported
        const body = bodyOf(batch)
        const request = { method: "POST", url, headers: { "content-type": "application/xml" }, body }
        const headers = await signed(request, { ...SCOPE, at: surroundings.now() }, credentials)
        const answer = await ask(surroundings, host, url, { method: "POST", headers, body }, signal)
        return "outcome" in answer
          ? answer
          : judge(host, answer, batch.values.length, surroundings.now(), secrets)
      },
    }
  },
)

/** @throws {TypeError} naming the option and no value */
function check(credentials: AwsCredentials): void {
  for (const [name, value] of Object.entries(credentials)) {
    if (value !== undefined && !/^[\x21-\x7e]+$/.test(value))
      throw new TypeError(`${name} is empty, or holds what no header may`)
  }
}

/**
 * The batch's own id is its reference: CloudFront answers the same one with the invalidation that it made before.
 *
 * @see https://docs.aws.amazon.com/cloudfront/latest/APIReference/API_CreateInvalidation.html
 */
function bodyOf({ id, values }: Batch): string {
  // The same path on two hosts is one, and would be paid for twice.
  const paths = [...new Set(values.map(wire))]
  const items = paths.map((path) => `<Path>${escape(path)}</Path>`).join("")
  return `<?xml version="1.0" encoding="UTF-8"?>
<InvalidationBatch xmlns="http://cloudfront.amazonaws.com/doc/${VERSION}/"><CallerReference>${escape(id)}</CallerReference><Paths><Quantity>${paths.length}</Quantity><Items>${items}</Items></Paths></InvalidationBatch>`
}

/**
 * What RFC 1738 calls unsafe and the parser of urls leaves as it is: CloudFront wants it encoded, and nothing else.
 *
 * @see https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/invalidation-specifying-objects.html
 */
const UNSAFE = /[{}|\\^~[\]`]/g

/**
 * A value as CloudFront takes it. A `*` is a wildcard at the end of a path, and refused within; it is none of what is to
 * be encoded, so that it cannot be said otherwise, and `purge` lets none through. A prefix goes without its last slash, to cover the page at
 * `…/blog` too.
 */
function wire({ kind, value }: Value): string {
  if (kind === "everything") return "/*"
  if (kind === "tag") return `#${value}`
  const { pathname, search } = new URL(value)
  const path = kind === "prefix" ? `${pathname.replace(/(.)\/$/, "$1")}*` : pathname + search
  return path.replaceAll(UNSAFE, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
}

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;" }

const escape = (text: string): string => text.replaceAll(/[&<>]/g, (char) => ENTITIES[char] ?? char)

const unescape = (text: string): string =>
  Object.entries(ENTITIES).reduceRight((rest, [char, entity]) => rest.replaceAll(entity, char), text)

/** The text of the first element of a name; all that these answers need of XML. */
const element = (name: string, text: string): string | undefined =>
  new RegExp(`<${name}>([^<]*)</${name}>`).exec(text)?.[1]

/** Answers with a status of 400 too that are about too many calls. */
const BUSY =
  /^(TooManyInvalidationsInProgress|Throttl|RequestThrottled|RequestLimitExceeded|TooManyRequests|SlowDown)/

/**
 * Answers, many with a status of 400, that are about the key, its rights, its account or the clock (`RequestExpired`,
 * and `SignatureDoesNotMatch` with "Signature expired"), and would fault every batch.
 *
 * @see https://docs.aws.amazon.com/cloudfront/latest/APIReference/CommonErrors.html
 */
const KEYS =
  /^(AccountProblem|Blocked|ExpiredToken|IncompleteSignature|InvalidAccessKeyId|InvalidClientTokenId|InvalidSignature|InvalidToken|MissingAuthenticationToken|NotAuthorized|NotSignedUp|OperationNotPermitted|OptInRequired|PendingVerification|RequestExpired|RequestTimeTooSkewed|SignatureDoesNotMatch|SubscriptionRequired|TokenRefreshRequired|UnauthorizedAccess|UnrecognizedClient)/
/** The same of rights to a distribution: an account that is "not verified" comes so too. */
const RIGHTS = /^AccessDenied/
/** About the distribution, or the address of the API. */
const PLACE =
  /^(EntityNotFound|Invalid(Action|Endpoint)|NoSuch(Distribution|Resource)|UnknownOperation|UnsupportedOperation)/

const MEND = { keys: ["accessKeyId", "secretAccessKey", "sessionToken"], place: ["distribution"] }

function judge(
  who: string,
  answer: Answer,
  count: number,
  now: Milliseconds,
  secrets: readonly string[],
): Outcome {
  const { text } = answer
  const [code, id] = [element("Code", text), element("Id", text)]
  const aboutOf = (of: string): Reading["about"] => {
    if (BUSY.test(of)) return "vendor"
    if (KEYS.test(of)) return "keys"
    if (RIGHTS.test(of)) return "us"
    return PLACE.test(of) ? "place" : undefined
  }
  const outcome = verdict(who, answer, now, {
    mend: MEND,
    said: tidy(unescape(`${code ?? ""} ${element("Message", text) ?? ""}`), secrets),
    isOwn: code !== undefined,
    isTaken: id !== undefined && text.includes("<Invalidation"),
    about: aboutOf(code ?? ""),
    count,
  })
  if (outcome.outcome === "accepted") return { ...outcome, vendorId: tidy(id ?? "") }
  const isOwnTrouble = outcome.outcome === "trouble" && code !== undefined
  return isOwnTrouble ? { retryAfter: COMPLETES, ...outcome } : outcome
}
