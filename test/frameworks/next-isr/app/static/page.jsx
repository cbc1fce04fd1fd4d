import { unstable_cache } from "next/cache"
import { read } from "../read.js"

const readPost = unstable_cache(() => read(), ["static"], { tags: ["post-1"] })

/** A page that is made once, and anew when its tag is revalidated. */
export default async function Page() {
  return <h1>{await readPost()}</h1>
}
