/**
 * Stands in for `next/cache`, which is not installed: it remembers what it was asked, in order. The signatures are
 * those of Next.js 16.
 *
 * @see https://nextjs.org/docs/app/api-reference/functions/revalidateTag
 * @see https://nextjs.org/docs/app/api-reference/functions/revalidatePath
 */

export const asked: (readonly unknown[])[] = []

export function revalidateTag(tag: string, profile: string | { expire?: number }): void {
  asked.push(["revalidateTag", tag, profile])
}

export function revalidatePath(path: string, type?: "layout" | "page"): void {
  asked.push(type === undefined ? ["revalidatePath", path] : ["revalidatePath", path, type])
}
