import pg from 'pg'
import { HelixError } from '../core/errors.ts'

/**
 * What the caller is told when a statement or a connection failed. Whatever says nothing about the statement itself
 * (no connection, no answer in time, a server that starts or stops, a full disk) is `storage_unavailable`, and the same
 * call may succeed later.
 */
export function toStorageError(reason: unknown, statement?: string): HelixError {
  if (reason instanceof HelixError) return reason
  const text = reason instanceof Error ? reason.message : String(reason)
  const state = sqlState(reason)
  const where = statement === undefined ? '' : `; statement: ${statement}`
  // Never the server's `detail`: it quotes the values.
  const context = { internal: `${state ?? 'connection'}: ${text}${where}`, cause: reason }

  if (state === DISK_FULL) {
    return new HelixError('storage_unavailable', 'The database has no room left on its disk.', context)
  }
  if (reason instanceof TypeError || reason instanceof RangeError || (state && !isUnavailable(state))) {
    return new HelixError(
      'internal_error',
      'Internal error. The request id identifies it in the server log.',
      context,
    )
  }
  return new HelixError(
    'storage_unavailable',
    'The database cannot be reached at the moment. Try again shortly.',
    context,
  )
}

/** Why it failed, in few words: what the server calls it, `connection` where it said nothing, `busy` where none was free. */
export function failureLabel(reason: unknown): string {
  const cause = reason instanceof HelixError ? reason.cause : reason
  if (cause === undefined) return 'busy'
  return sqlState(cause) ?? 'connection'
}

/** Whether the server answered and goes on listening, so that the connection can be used again. */
export function leavesConnectionUsable(reason: unknown): boolean {
  return reason instanceof pg.DatabaseError && reason.severity === 'ERROR'
}

/**
 * Whether the server ended the statement only because of somebody else's: a serialisation failure, a deadlock, or on
 * a replica what arrived from the primary. Nothing of the transaction was kept, so it can be done again.
 */
export function isConflict(reason: unknown): boolean {
  return CONFLICTS.includes(sqlState(reason) ?? '')
}

const CONFLICTS: readonly string[] = ['40001', '40P01']

const DISK_FULL = '53100'

/** Connection, resources, operator intervention (statement_timeout is one), system error, login; and idle limits. */
const UNAVAILABLE_CLASSES: readonly string[] = ['08', '53', '57', '58', '28']
const UNAVAILABLE_STATES: readonly string[] = ['25P03', '25P04', '3D000']

function isUnavailable(state: string): boolean {
  return UNAVAILABLE_CLASSES.includes(state.slice(0, 2)) || UNAVAILABLE_STATES.includes(state)
}

function sqlState(reason: unknown): string | undefined {
  return reason instanceof pg.DatabaseError ? reason.code : undefined
}
