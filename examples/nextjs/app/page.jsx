import { updateTag } from "next/cache"
import { Suspense } from "react"
import { readPost } from "./read-post.jsx"

async function purge() {
  "use server"
  updateTag("post-1")
}

async function Post({ searchParams }) {
  const { slow = "0" } = await searchParams
  const { text, readAt } = await readPost("post-1", Math.min(Number(slow) || 0, 30))
  return (
    <>
      <h1>{text}</h1>
      <p>
        Read at <time>{readAt}</time>
      </p>
    </>
  )
}

export default function Page({ searchParams }) {
  return (
    <main>
      <Suspense fallback={<p>Reading…</p>}>
        <Post searchParams={searchParams} />
      </Suspense>
      <form action={purge}>
        <button>Purge post-1</button>
      </form>
    </main>
  )
}
