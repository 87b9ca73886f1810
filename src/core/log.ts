export type LogFields = Readonly<Record<string, unknown>>

/**
 * Structured log. `event` is a fixed phrase ("engine exited"); everything that varies goes in `fields`,
 * so that lines can be counted and secrets cannot hide in text.
 */
export interface Logger {
  debug(event: string, fields?: LogFields): void
  info(event: string, fields?: LogFields): void
  warn(event: string, fields?: LogFields): void
  error(event: string, fields?: LogFields): void
  /** The same log with these fields on every line. */
  with(fields: LogFields): Logger
}

/** For callers that want no log, mostly tests. */
export const silentLog: Logger = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  with: () => silentLog,
}
