import { read } from "../../read.js"

/** A page that is made anew every hour, and before that when its path is revalidated. */
export const revalidate = 3600

export const generateStaticParams = () => [{ slug: "built" }]

export default async function Page() {
  return <h1>{await read()}</h1>
}
