import { HelixError } from '../core/errors.ts'

/** What to tell when one of PostgreSQL's programs failed, from what it wrote. */
export function postgresFailure(what: string, written: string): HelixError {
  const lastLines = written.trim().split('\n').slice(-8).join('\n')
  if (/no space left on device|disk quota exceeded/i.test(written)) {
    return new HelixError('disk_full', `${what}: the disk is full. Make room and start again.\n${lastLines}`)
  }
  return new HelixError('database_unavailable', `${what}: ${lastLines || 'it gave no reason'}`)
}
