import { defineConfig, secret } from "tidemark/config"

/** The configuration of the demo, and a start for yours: every key is told in docs/configuration.md. */
export default defineConfig({
  tokens: [
    // `npx tidemark token create deploy --scope 'publish:*' --scope 'read:*' --write` makes it, and keeps its hash.
    { name: "deploy", sha256: secret("DEPLOY_TOKEN_SHA256"), scopes: ["publish:*", "read:*"] },
  ],
  namespaces: {
    // The demo's pages carry `ns/<namespace>` as a tag, so a whole namespace is purged by that and not by its host.
    blog: { hosts: ["127.0.0.1", "localhost"], wholeBy: "tag" },
    catalog: { hosts: ["127.0.0.1", "localhost"], wholeBy: "tag" },
  },
  sources: {
    "contentful-main": {
      type: "contentful",
      secret: secret("CONTENTFUL_SECRET"),
      namespace: "blog",
      rules: [{ when: { type: "post" }, tags: ["post-{id}", "type-post"], mode: "purge" }],
    },
  },
  targets: {
    "www-varnish": { type: "varnish", endpoints: "dev", namespaces: ["*"], allowEverything: true },
  },
})
