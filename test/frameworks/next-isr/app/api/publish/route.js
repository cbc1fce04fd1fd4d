import { publishTags } from "tidemark/next"

export async function POST(request) {
  const { tag } = await request.json()
  try {
    await publishTags(tag)
    return Response.json({ done: true })
  } catch (error) {
    return Response.json({ error: error.message }, { status: 502 })
  }
}
