import { visitBroken } from "./broken-site.ts"

const { process } = globalThis as unknown as {
  process: { argv: readonly string[]; exit(): never }
}
const [origin = "", times = "0"] = process.argv.slice(2)
console.log(JSON.stringify(await visitBroken(origin, 0, Number(times))))
// Some keep connections open.
process.exit()
