import { createTidemark, workerStore } from "tidemark/client"
import { createIsrHandler } from "tidemark/next-isr"

const tidemark = createTidemark({
  store: workerStore({ url: process.env.TIDEMARK_URL, token: process.env.TIDEMARK_TOKEN }),
  ttl: Number(process.env.TIDEMARK_TTL),
})

export default createIsrHandler({ tidemark, namespace: "blog", site: "https://www.example.com" })
