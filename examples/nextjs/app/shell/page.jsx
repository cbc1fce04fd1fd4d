import { readPost } from "../read-post.jsx"

/** Prerendered as a whole: a page that Next.js keeps by itself, and reads no entry for. */
export default async function Page() {
  const { text } = await readPost("post-1")
  return <h1>{text}</h1>
}
