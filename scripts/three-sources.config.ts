import { defineConfig, secret } from "tidemark/config"

/** As much as one team is likely to have: a CMS for the site, one for the products, a shop. For the bundle's budget. */
export default defineConfig({
  namespaces: { blog: { hosts: ["www.example.com"] } },
  sources: {
    site: { type: "contentful", secret: secret("CONTENTFUL_SECRET"), namespace: "blog" },
    products: { type: "sanity", secret: secret("SANITY_SECRET"), namespace: "blog" },
    shop: { type: "shopify", secret: secret("SHOPIFY_SECRET"), namespace: "blog" },
  },
  targets: { varnish: { type: "varnish", endpoints: ["http://127.0.0.1:6081"], namespaces: ["*"] } },
})
