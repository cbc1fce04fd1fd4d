/** A page that is made for each visitor, from an answer that is kept. */
export default async function Page({ searchParams }) {
  await searchParams
  const response = await fetch(process.env.ORIGIN, { next: { tags: ["post-1"], revalidate: 3600 } })
  return <h1>{await response.text()}</h1>
}
