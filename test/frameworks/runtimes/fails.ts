console.log("as far as this")
process.exitCode = 3
