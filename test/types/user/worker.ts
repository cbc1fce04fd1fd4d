import { createWorker } from "tidemark/worker"
import config from "./config.js"

export default createWorker(config)
