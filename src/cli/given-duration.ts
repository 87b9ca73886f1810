import { parseDuration } from '../config/quantities.ts'
import { HelixError } from '../core/errors.ts'

/** A duration of the command line. @throws HelixError `invalid_arguments` */
export function givenDuration(option: string, text: string): number {
  const milliseconds = parseDuration(text)
  if (milliseconds !== undefined && milliseconds > 0) return milliseconds
  throw new HelixError(
    'invalid_arguments',
    `${option}: '${text}' is no duration; write for example 30m, 1h or 7d.`,
  )
}
