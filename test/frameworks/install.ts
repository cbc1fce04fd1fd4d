import { installApart } from "../../scripts/apart.ts"

export const setup = (): Promise<void> => installApart("test/frameworks")
