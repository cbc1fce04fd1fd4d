import { expect, it } from "vitest"
import { signed } from "./sigv4.ts"

/**
 * Signatures that botocore 1.43.11, AWS's own client, makes of these requests (`botocore.auth.SigV4Auth`). The first two
 * are `post-vanilla` and `get-vanilla-with-session-token` of AWS's signing test suite, which publishes the same
 * signatures: https://github.com/awslabs/aws-c-auth/tree/main/tests/aws-signing-test-suite/v4
 */
const KEY = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" }
const TEMPORARY = {
  ...KEY,
  sessionToken: "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267",
}
const SUITE = { region: "us-east-1", service: "service", at: Date.UTC(2015, 7, 30, 12, 36) }
const CLOUDFRONT = { region: "us-east-1", service: "cloudfront", at: Date.UTC(2026, 10, 20, 12) }
const INVALIDATION = {
  method: "POST",
  url: "https://cloudfront.amazonaws.com/2020-05-31/distribution/EDFDVBD6EXAMPLE/invalidation",
  headers: { "content-type": "application/xml" },
  body: "<InvalidationBatch/>",
}
const SUITE_URL = "https://example.amazonaws.com/"

it.each([
  [
    "nothing but a host",
    { method: "POST", url: SUITE_URL, headers: {}, body: "" },
    SUITE,
    KEY,
    "host;x-amz-date",
    "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
  ],
  [
    "a session token",
    { method: "GET", url: SUITE_URL, headers: {}, body: "" },
    SUITE,
    TEMPORARY,
    "host;x-amz-date;x-amz-security-token",
    "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
  ],
  [
    "a body and its type",
    {
      method: "POST",
      url: SUITE_URL,
      headers: { "content-type": "application/x-www-form-urlencoded" },
      body: "Param1=value1",
    },
    SUITE,
    KEY,
    "content-type;host;x-amz-date",
    "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
  ],
  [
    "a path that needs encoding, and spaces in a header",
    {
      method: "GET",
      url: "https://example.amazonaws.com/a%20b/(c)*/~d/%E1%88%B4",
      headers: { "X-Spaces": "  a   b  " },
      body: "",
    },
    { ...CLOUDFRONT, service: "service" },
    KEY,
    "host;x-amz-date;x-spaces",
    "d63123dd6ddb2151e1bac4109b7bd287134bb8e7d3ce58623ae938a738ce3e99",
  ],
  [
    "an invalidation",
    INVALIDATION,
    CLOUDFRONT,
    KEY,
    "content-type;host;x-amz-date",
    "5a7e850d28929f8dde6af02e319b354bcf1fefd37cbd08fd280534ca30546e91",
  ],
  [
    "an invalidation by temporary credentials",
    INVALIDATION,
    CLOUDFRONT,
    TEMPORARY,
    "content-type;host;x-amz-date;x-amz-security-token",
    "1e7dc38cc8cf32e1c50b46032a8337b97859f59345f9fbaaed90f23369c1dd57",
  ],
])("signs %s as AWS does", async (_, request, scope, credentials, names, signature) => {
  const headers = await signed(request, scope, credentials)
  const date = scope.at === SUITE.at ? "20150830" : "20261120"
  expect(headers["authorization"]).toBe(
    `AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/${date}/us-east-1/${scope.service}/aws4_request, SignedHeaders=${names}, Signature=${signature}`,
  )
  expect(headers).toMatchObject(request.headers)
  expect(Object.keys(headers)).not.toContain("host")
})
