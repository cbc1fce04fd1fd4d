import { pino } from "pino"

/** What a part of ours logs by: what happened as the message, `component:pastTense`, and its payload beside it. */
export interface Logger {
  debug(payload: object, event: string): void
  info(payload: object, event: string): void
  warn(payload: object, event: string): void
  error(payload: object, event: string): void
}

/**
 * JSON lines on standard error, as standard output is for what programs read.
 * The level is `LOG_LEVEL`, default `info`.
 */
export const createLogger = (name: string, level = "info"): Logger =>
  pino(
    {
      name,
      level,
      base: { name },
      // A second lock on the door: payloads are written without secrets to begin with.
      redact: {
        paths: [
          "token",
          "secret",
          "authorization",
          "password",
          "*.token",
          "*.secret",
          "*.authorization",
          "*.password",
          "headers",
          "body",
        ],
        censor: "[redacted]",
      },
    },
    pino.destination(2),
  )
