/**
 * Forms that secrets of sources must have, or no delivery can ever be verified by them, whatever its sender knows.
 */

/** Any text. Dashboards and files of variables keep the line end that came along. */
export const TEXT_SECRET = /^\S(.*\S)?$/s

/** What stands behind `Bearer` in a header. */
export const BEARER_SECRET = /^[!-~]+$/

/** https://github.com/contentful/node-apps-toolkit (src/requests/typings/validators.ts) takes no other. */
export const CONTENTFUL_SECRET = /^[\w+/=-]{64}$/

/** Of Standard Webhooks: `whsec_` and base64, which may stand alone; or the 32 bytes of a public key. */
export const STANDARD_SECRET =
  /^(whpk_[A-Za-z\d+/]{43}=|(whsec_)?(?=[^=])([A-Za-z\d+/]{4})*([A-Za-z\d+/]{2}(==|[A-Za-z\d+/]=))?)$/
