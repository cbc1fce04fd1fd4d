export { installFrameworks as setup } from "../../scripts/frameworks.ts"
