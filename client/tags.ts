/** `tidemark/tags`: responses labelled for the cache in front of them, so that it can be purged by what they show. */
export { type Labeller, type LabelOptions, type Labels, labelsFor, tagHeader } from "./tag-header.ts"
export {
  akamai,
  bunny,
  cloudflare,
  cloudfront,
  fastly,
  googleCloudCdn,
  keycdn,
  netlify,
  nextjs,
  souin,
  type TagRules,
  varnish,
  vercel,
  workersCache,
} from "../protocol/tag-rules.ts"
