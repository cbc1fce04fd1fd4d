import type { SoakResult } from "./soak.ts"
export const plotOf = (_result: SoakResult): string => "<svg/>"
