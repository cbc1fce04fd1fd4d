/** The package is of ES modules alone: what is CommonJS imports it when it needs it. */
export async function reader() {
  const { createTidemark, workerStore } = await import("tidemark/client")
  return createTidemark({ store: workerStore({ url: "https://tidemark.example.com", token: "t" }) })
}
