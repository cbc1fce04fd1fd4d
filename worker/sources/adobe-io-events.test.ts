import { describe, expect, it } from "vitest"
import { toBase64, utf8 } from "../../protocol/bytes.ts"
import { HOUR, MINUTE, type Milliseconds } from "../../protocol/time.ts"
import { vectorsOf } from "../../test/fixtures/vectors.ts"
import { adobeIoEvents } from "./adobe-io-events.ts"
import { contextOf, describeSource, withHeaders } from "./conformance.ts"
import type { Delivery } from "./source.ts"

const CLIENT = "ca7b0d1f4e5a4c3f9c1d2e3f4a5b6c7d"
const NOW: Milliseconds = 1_767_225_600_000
const RSA = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }

interface Signer {
  readonly path: string
  readonly pem: string
  sign(body: string): Promise<string>
}

const pathOf = (name: string): string => `/prod/keys/pub-key-${name}.pem`

async function signerOf(name: string): Promise<Signer> {
  const { privateKey, publicKey } = await crypto.subtle.generateKey(
    { ...RSA, modulusLength: 2048, publicExponent: Uint8Array.of(1, 0, 1) },
    true,
    ["sign", "verify"],
  )
  const spki = toBase64(new Uint8Array(await crypto.subtle.exportKey("spki", publicKey)))
  const lines = spki.match(/.{1,64}/g)?.join("\n")
  return {
    path: pathOf(name),
    pem: `-----BEGIN PUBLIC KEY-----\n${lines}\n-----END PUBLIC KEY-----\n`,
    sign: async (body) =>
      toBase64(new Uint8Array(await crypto.subtle.sign(RSA.name, privateKey, utf8(body)))),
  }
}

const [first, second] = await Promise.all([signerOf("first"), signerOf("second")])

const headersOf = async (n: 1 | 2, { path, sign }: Signer, body: string): Promise<[string, string][]> => [
  [`x-adobe-digital-signature-${n}`, await sign(body)],
  [`x-adobe-public-key${n}-path`, path],
]

const deliveryOf = (body: string, headers: [string, string][]): Delivery => ({
  method: "POST",
  path: "/v1/hooks/commerce",
  headers: new Headers(headers),
  body: utf8(body),
})

const [published] = vectorsOf("adobe-io-events")

type Answer = (url: string, init: RequestInit | undefined) => Response | Promise<Response>

/** Adobe's host, which takes nothing but a GET of a key. */
function hostOf(answers: Readonly<Record<string, string | Answer>>) {
  const asked: string[] = []
  const fetch = async (input: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const url = new URL(input instanceof Request ? input.url : input)
    asked.push(url.href)
    expect([url.origin, init?.redirect, init?.method, init?.body]).toEqual([
      "https://static.adobeioevents.com",
      "manual",
      undefined,
      undefined,
    ])
    expect(init?.signal).toBeInstanceOf(AbortSignal)
    const answer = answers[url.pathname]
    if (answer === undefined) return new Response("<Error>AccessDenied</Error>", { status: 403 })
    return typeof answer === "string" ? new Response(answer) : answer(url.href, init)
  }
  return { asked, fetch }
}

const adobe = hostOf({
  [first.path]: first.pem,
  [second.path]: second.pem,
  [pathOf("published")]: published?.public_key_pem ?? "",
})

const bodyFor = (client: string, data: unknown = {}): string =>
  JSON.stringify({ event_id: "event-1", data, recipient_client_id: client })

describeSource(adobeIoEvents, {
  secrets: [CLIENT, "another-client"],
  async sign(client, data) {
    const body = bodyFor(client, data)
    return deliveryOf(body, await headersOf(1, first, body))
  },
  fetch: adobe.fetch,
  signedHeaders: ["x-adobe-digital-signature-1", "x-adobe-public-key1-path"],
  signsPath: false,
  spoilt: {
    "the other's key": (delivery) => withHeaders(delivery, { "x-adobe-public-key1-path": second.path }),
    "a key on another host": (delivery) =>
      withHeaders(delivery, { "x-adobe-public-key1-path": `@evil.example${first.path}` }),
    "a whole url for a path": (delivery) =>
      withHeaders(delivery, { "x-adobe-public-key1-path": `https://static.adobeioevents.com${first.path}` }),
    "a path that leaves the folder": (delivery) =>
      withHeaders(delivery, { "x-adobe-public-key1-path": "/prod/keys/pub-key-../../x.pem" }),
    "a path with a query": (delivery) =>
      withHeaders(delivery, { "x-adobe-public-key1-path": `${first.path}?x` }),
    "its signature at the other place": (delivery) =>
      withHeaders(delivery, {
        "x-adobe-digital-signature-1": undefined,
        "x-adobe-digital-signature-2": delivery.headers.get("x-adobe-digital-signature-1") ?? "",
      }),
    "base64 without its padding": (delivery) =>
      withHeaders(delivery, {
        "x-adobe-digital-signature-1": delivery.headers
          .get("x-adobe-digital-signature-1")
          ?.replaceAll("=", ""),
      }),
  },
  // Published without the path at which the key lies, and with the client id in its note.
  vectors: vectorsOf("adobe-io-events").map((vector) => ({
    ...vector,
    secret: "client_id1",
    headers: { ...vector.headers, "x-adobe-public-key1-path": pathOf("published") },
  })),
})

const verify = async (delivery: Delivery, options: Parameters<typeof contextOf>[2] = {}) =>
  adobeIoEvents.verify(delivery, contextOf("adobe-io-events", CLIENT, { fetch: adobe.fetch, ...options }))

describe("verification", () => {
  it("takes either signature, and names the event, which its repetitions name too", async () => {
    const body = bodyFor(CLIENT)
    const [one, two] = [await headersOf(1, first, body), await headersOf(2, second, body)]
    const wrong = [["x-adobe-digital-signature-1", toBase64(new Uint8Array(256))], one[1]] as [
      string,
      string,
    ][]
    for (const headers of [one, two, [...one, ...two], [...wrong, ...two]]) {
      expect(await verify(deliveryOf(body, headers))).toEqual({
        verdict: "verified",
        deliveryId: "event-1",
        replay: "delivery-id",
      })
    }
    expect(await verify(deliveryOf(body, wrong))).toMatchObject({ verdict: "invalid" })
  })

  it("knows no repetition of what has no id", async () => {
    const body = JSON.stringify({ recipient_client_id: CLIENT })
    expect(await verify(deliveryOf(body, await headersOf(1, first, body)))).toEqual({
      verdict: "verified",
      replay: "none",
    })
  })

  it("asks nobody for the keys of what is not meant for it", async () => {
    const { asked, fetch } = hostOf({ [pathOf("unasked")]: first.pem })
    for (const body of [bodyFor("somebody-else"), "{}", "[]", "", "null", "{"]) {
      const headers = await headersOf(1, { ...first, path: pathOf("unasked") }, body)
      expect(await verify(deliveryOf(body, headers), { fetch })).toMatchObject({ verdict: "invalid" })
    }
    expect(asked).toEqual([])
  })

  it("asks for a key once an hour, and for one that there is not once a minute", async () => {
    const path = pathOf("hourly")
    const body = bodyFor(CLIENT)
    const delivery = deliveryOf(body, await headersOf(1, { ...first, path }, body))
    const { asked, fetch } = hostOf({ [path]: first.pem })
    for (const at of [NOW, NOW + 1, NOW + HOUR - 1, NOW + HOUR]) {
      expect(await verify(delivery, { fetch, at })).toMatchObject({ verdict: "verified" })
    }
    expect(asked).toHaveLength(2)
    const unknown = withHeaders(delivery, { "x-adobe-public-key1-path": pathOf("unknown") })
    for (const at of [NOW, NOW + MINUTE - 1, NOW + MINUTE]) {
      expect(await verify(unknown, { fetch, at })).toMatchObject({ verdict: "invalid" })
    }
    expect(asked).toHaveLength(4)
  })

  it("keeps no more than a few keys", async () => {
    const body = bodyFor(CLIENT)
    const { asked, fetch } = hostOf({})
    const [, path] = await headersOf(1, first, body)
    const delivery = deliveryOf(body, [["x-adobe-digital-signature-1", "AAAA"], path ?? ["", ""]])
    for (let n = 0; n < 2; n += 1) {
      for (let index = 0; index < 40; index += 1) {
        await verify(withHeaders(delivery, { "x-adobe-public-key1-path": pathOf(`many-${index}`) }), {
          fetch,
        })
      }
    }
    // With all of them kept, the second round would have asked for none.
    expect(asked).toHaveLength(80)
  })

  it.for([
    ["a redirect", () => Response.redirect("https://evil.example/key.pem", 302)],
    ["an error", () => new Response(null, { status: 503 })],
    ["no answer", () => Promise.reject(new TypeError("no answer"))],
    ["what is no key", () => new Response("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----")],
    ["what is no PEM", () => new Response("<html>")],
    ["what is too long", () => new Response(`${first.pem}${" ".repeat(10_000)}`)],
  ] as const satisfies readonly (readonly [string, Answer])[])(
    "cannot tell, and says so in a way that makes Adobe try again, where the host answers with %s",
    async ([name, answer]) => {
      const path = pathOf(name.replaceAll(" ", "-"))
      const body = bodyFor(CLIENT)
      const headers = await headersOf(1, { ...first, path }, body)
      const { fetch } = hostOf({ [path]: answer, [second.path]: second.pem })
      await expect(verify(deliveryOf(body, headers), { fetch })).rejects.toMatchObject({ status: 500 })
      // Unless the other signature is right.
      const both = [...headers, ...(await headersOf(2, second, body))]
      expect(await verify(deliveryOf(body, both), { fetch })).toMatchObject({ verdict: "verified" })
    },
  )
})

describe("the challenge", () => {
  it.for([
    ["?challenge=8ec8d794-e0ab-42df-9017-e3dada8e84f7", "8ec8d794-e0ab-42df-9017-e3dada8e84f7"],
    ["", undefined],
    ["?challenge=", undefined],
    ["?challenge=%3Cscript%3E", undefined],
    [`?challenge=${"a".repeat(129)}`, undefined],
  ] as const)("of %s is answered %s", ([query, answer]) => {
    expect(adobeIoEvents.challenge?.(new URLSearchParams(query))).toBe(answer)
  })
})

const read = (body: unknown, headers: Record<string, string> = {}) =>
  adobeIoEvents.read({ body, headers: new Headers(headers), path: "/" }, contextOf("adobe-io-events", CLIENT))

describe("reading", () => {
  it.for([
    ["observer.catalog_product_save_commit_after", "update", "catalog_product"],
    ["observer.catalog_product_save_after", "update", "catalog_product"],
    ["observer.catalog_product_delete_commit_after", "delete", "catalog_product"],
    ["observer.catalog_category_delete_before", "delete", "catalog_category"],
    ["observer.cms_page_save_commit_after", "update", "cms_page"],
    [
      "plugin.magento.catalog.api.product_repository.save",
      "update",
      "magento.catalog.api.product_repository",
    ],
    ["observer.catalog_product_import_finish", "update", "catalog_product_import_finish"],
    ["observer.constructor", "update", "constructor"],
  ] as const)("reads %s as %s of %s", ([topic, kind, type]) => {
    const value = { entity_id: "3", sku: "tide-table", url_key: "tide-table-2026", status: "1" }
    const body = {
      specversion: "1.0",
      id: "a",
      type: `com.adobe.commerce.${topic}`,
      data: { key: "k", value },
    }
    expect(read(body)).toEqual({
      reading: "events",
      events: [{ kind, type, id: "3", slug: "tide-table-2026", topic: `com.adobe.commerce.${topic}` }],
    })
  })

  const saved = (value: object, type = "com.adobe.commerce.observer.catalog_product_save_commit_after") =>
    read({ type, data: { value } })

  it.for([
    [{ entity_id: 3, status: "2" }, "unpublish"],
    [{ entity_id: 3, status: 2 }, "unpublish"],
    [{ page_id: "3", is_active: "0" }, "unpublish"],
    [{ category_id: 3, is_active: false }, "unpublish"],
    [{ id: 3, is_active: "1" }, "update"],
    [{ sku: "3" }, "update"],
  ] as const)("reads %j as %s", ([value, kind]) => {
    expect(saved(value)).toMatchObject({ events: [{ kind, id: "3" }] })
  })

  it("reads the old address where the subscription asks for it", () => {
    expect(saved({ entity_id: 3, url_key: "b", _origData: { url_key: "a" } })).toMatchObject({
      events: [{ slug: "b", previousSlug: "a" }],
    })
    expect(saved({ entity_id: 3, url_key: "b", _origData: { url_key: "b" } })).not.toHaveProperty(
      "events.0.previousSlug",
    )
  })

  it("has an event without an id where the subscription names no field that is one", () => {
    expect(saved({ name: "Tide table" })).toEqual({
      reading: "events",
      events: [
        {
          kind: "update",
          type: "catalog_product",
          topic: "com.adobe.commerce.observer.catalog_product_save_commit_after",
        },
      ],
    })
  })

  it("reads the older form, whose code stands in a header", () => {
    const body = { event_id: "a", event: { data: { value: { entity_id: "3" } } } }
    const code = "com.adobe.commerce.observer.catalog_product_save_after"
    expect(read(body, { "x-adobe-event-code": code })).toMatchObject({
      events: [{ kind: "update", type: "catalog_product", id: "3", topic: code }],
    })
    expect(
      read({ ...body, type: "com.adobe.commerce.observer.x_delete_after" }, { "x-adobe-event-code": code }),
    ).toMatchObject({ events: [{ kind: "delete", type: "x" }] })
  })

  it.for([
    ["stage.observer.catalog_product_save_commit_after", "update", "catalog_product"],
    ["my_app.plugin.order_shipped", "update", "order_shipped"],
    ["my_app.observer.catalog_product_delete_commit_after", "delete", "catalog_product"],
    [
      "stage.plugin.magento.catalog.api.product_repository.save",
      "update",
      "magento.catalog.api.product_repository",
    ],
  ] as const)("leaves out of %s the app that subscribed", ([code, kind, type]) => {
    const topic = `com.adobe.commerce.${code}`
    expect(read({ type: topic, data: { value: { entity_id: 7 } } })).toEqual({
      reading: "events",
      events: [{ kind, type, id: "7", topic }],
    })
  })

  // As in https://experienceleague.adobe.com/en/docs/experience-manager-learn/cloud-service/aem-eventing/examples/webhook
  const FRAGMENT = {
    id: "9a2d3e6a",
    path: "/content/dam/site/en/tides",
    model: { id: "/conf/site/models/post" },
  }

  it.for([
    ["aem.sites.contentFragment.modified", "update", "aem.sites.contentFragment"],
    ["aem.sites.contentFragment.variation", "update", "aem.sites.contentFragment"],
    ["aem.sites.contentFragment.unpublished", "unpublish", "aem.sites.contentFragment"],
  ] as const)("reads %s, whose id is its path", ([topic, kind, type]) => {
    expect(read({ type: topic, data: FRAGMENT })).toEqual({
      reading: "events",
      events: [{ kind, type, id: FRAGMENT.path, topic }],
    })
  })

  it.for([
    ["aem.sites.page.moved", "update", "aem.sites.page"],
    ["aem.sites.contentFragmentModel.deleted", "delete", "aem.sites.contentFragmentModel"],
  ] as const)("takes %s for a change of everything", ([topic, kind, type]) => {
    expect(read({ type: topic, data: FRAGMENT })).toMatchObject({
      events: [{ kind, isModel: true, type, topic }],
    })
  })

  it("reads what another of Adobe's products tells, by its path", () => {
    expect(read({ type: "aem.sites.page.unpublished", data: { path: "/content/site/en/tides" } })).toEqual({
      reading: "events",
      events: [
        {
          kind: "unpublish",
          type: "aem.sites.page",
          id: "/content/site/en/tides",
          topic: "aem.sites.page.unpublished",
        },
      ],
    })
  })

  it.for([undefined, [], {}, { type: "" }])("cannot read %j", (body) =>
    expect(read(body).reading).toBe("unreadable"),
  )
})
