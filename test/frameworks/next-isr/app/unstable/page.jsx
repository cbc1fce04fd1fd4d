import { unstable_cache } from "next/cache"
import { read } from "../read.js"

const readPost = unstable_cache(read, ["unstable"], { tags: ["post-1"] })

/** A page that is made for each visitor, from data that is kept. */
export default async function Page({ searchParams }) {
  const { slow = "0" } = await searchParams
  return <h1>{await readPost(Number(slow))}</h1>
}
