import { defineConfig, secret } from "tidemark/config"
import epochCacheProvider from "tidemark/astro"

export default defineConfig({
  tokens: [{ name: "deploy", sha256: secret("DEPLOY_TOKEN_SHA256"), scopes: ["publish:*", "read:*"] }],
  namespaces: { blog: { hosts: ["www.example.com"], wholeBy: "tag" } },
  targets: { print: { type: "print", namespaces: ["*"] } },
})

export const provider = epochCacheProvider({ url: "https://tidemark.example.com", namespace: "blog" })
