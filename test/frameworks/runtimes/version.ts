/** Says which runtime this is, and what it was given. */
const [name, version] = [
  "Bun" in globalThis ? "bun" : "Deno" in globalThis ? "deno" : "node",
  process.versions,
]
const { bun, deno, node } = version as Readonly<Record<string, string | undefined>>
console.log(`${name} ${bun ?? deno ?? node} ${process.argv.slice(2).join(" ")} ${process.env["SAID"]}`)
