import { defineConfig, secret } from "tidemark/config"

/**
 * What compose.yaml gives the relay unless TIDEMARK_CONFIG_FILE names a configuration of yours. Deploy the Worker with
 * the same: `TIDEMARK_CONFIG=infra/docker/tidemark.config.ts npx wrangler deploy`.
 */
export default defineConfig({
  tokens: [{ name: "deploy", sha256: secret("DEPLOY_TOKEN_SHA256"), scopes: ["publish:*", "read:*"] }],
  namespaces: { www: { hosts: ["www.example.com"] } },
  targets: {
    // To the relay, which shares Varnish's network namespace, Varnish is the very machine that it runs on.
    "www-varnish": { type: "varnish", endpoints: ["http://127.0.0.1:80"], namespaces: ["*"] },
  },
})
