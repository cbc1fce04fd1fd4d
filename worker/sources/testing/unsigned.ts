import { utf8 } from "../../../protocol/bytes.ts"
import { type SourceCases, withHeaders } from "../conformance.ts"

/** What the tests of all senders share that sign nothing: a header that they were told to send carries the secret. */

const HEADER = "x-hook-secret"

export const unsigned: SourceCases = {
  secrets: ["a-secret-of-ours-9f2d", "another-of-ours-77b0"],
  sign: (secret, body) =>
    Promise.resolve({
      method: "POST",
      path: "/v1/hooks/cms",
      headers: new Headers({ [HEADER]: secret }),
      body: utf8(body),
    }),
  // Not `bearer`: the case of that word does not count, so that not every changed byte is another secret.
  options: { auth: `header:${HEADER}` },
  signedHeaders: [HEADER],
  signsPath: false,
  signsBody: false,
  spoilt: {
    "the secret twice": (delivery) =>
      withHeaders(delivery, {
        [HEADER]: `${delivery.headers.get(HEADER)}, ${delivery.headers.get(HEADER)}`,
      }),
    "the secret as a bearer": (delivery) =>
      withHeaders(delivery, {
        [HEADER]: undefined,
        authorization: `Bearer ${delivery.headers.get(HEADER)}`,
      }),
    "the secret in the query": (delivery) => ({
      ...withHeaders(delivery, { [HEADER]: undefined }),
      path: `${delivery.path}?${HEADER}=${delivery.headers.get(HEADER)}`,
    }),
    "the secret in the body": (delivery) => ({
      ...withHeaders(delivery, { [HEADER]: undefined }),
      body: utf8(JSON.stringify({ secret: delivery.headers.get(HEADER) })),
    }),
  },
  vectors: [],
}
