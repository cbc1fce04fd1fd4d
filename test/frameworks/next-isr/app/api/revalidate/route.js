import { revalidatePath, revalidateTag } from "next/cache"

export async function POST(request) {
  const { tag, path, profile = { expire: 0 } } = await request.json()
  if (path) revalidatePath(path)
  else revalidateTag(tag, profile)
  return Response.json({ done: true })
}
