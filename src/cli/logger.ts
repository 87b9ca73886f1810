import pino from 'pino'
import type { Config } from '../config/schema.ts'
import type { LogFields, Logger } from '../core/log.ts'
import { listed } from './log-fields.ts'
import { LogOutput } from './log-output.ts'

const STANDARD_ERROR = 2

const AT_ONCE = { descriptor: STANDARD_ERROR, batchLength: 0, batchMs: 0 } as const

/**
 * The access log goes out in batches, at the latest after a fifth of a second and when the program ends: a write for
 * every request costs a tenth of the gateway's time.
 */
const IN_BATCHES = { descriptor: STANDARD_ERROR, batchLength: 4_096, batchMs: 200 } as const

export interface Logs {
  readonly log: Logger
  /** One line per request. */
  readonly accessLog: Logger
}

/** The program's logs, on standard error: JSON lines, or short text where a person watches. */
export function createLogs(config: Config['log']): Logs {
  // What else is said there must not end the program either when it cannot be written.
  process.stderr.on('error', () => {})
  const text = config.format === 'text' || (config.format === 'auto' && process.stderr.isTTY)
  const terminal = { write: (line: string) => void process.stderr.write(textLine(line)) }
  return {
    log: createLogger(config, text ? terminal : new LogOutput(AT_ONCE)),
    accessLog: createLogger(config, text ? terminal : new LogOutput(IN_BATCHES)),
  }
}

function createLogger({ level }: Config['log'], destination: pino.DestinationStream): Logger {
  const options: pino.LoggerOptions = {
    level,
    base: null,
    messageKey: 'event',
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
  }
  return wrap(pino(options, destination))
}

function wrap(log: pino.Logger): Logger {
  return {
    debug: (event, fields) => log.debug(fields ? listed(fields) : {}, event),
    info: (event, fields) => log.info(fields ? listed(fields) : {}, event),
    warn: (event, fields) => log.warn(fields ? listed(fields) : {}, event),
    error: (event, fields) => log.error(fields ? listed(fields) : {}, event),
    with: (fields) => wrap(log.child(listed(fields))),
  }
}

function textLine(line: string): string {
  const { level, time, event, ...fields } = JSON.parse(line) as LogFields & {
    level: string
    time: string
    event: string
  }
  const rest = Object.entries(fields).map(
    ([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  )
  return `${time.slice(11, 19)} ${level.padEnd(5)} ${[event, ...rest].join(' ')}\n`
}
