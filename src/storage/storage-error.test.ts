import pg from 'pg'
import { expect, test } from 'vitest'
import { leavesConnectionUsable, toStorageError } from './storage-error.ts'

function serverError(code: string, severity = 'ERROR'): pg.DatabaseError {
  const error = new pg.DatabaseError('text', 4, 'error')
  return Object.assign(error, { code, severity, detail: 'Key (secret)=(value)' })
}

test.each([
  ['57P01', 'storage_unavailable'],
  ['57P03', 'storage_unavailable'],
  ['57014', 'storage_unavailable'],
  ['53300', 'storage_unavailable'],
  ['08006', 'storage_unavailable'],
  ['28P01', 'storage_unavailable'],
  ['25P03', 'storage_unavailable'],
  ['53100', 'storage_unavailable'],
  ['23505', 'internal_error'],
  ['42601', 'internal_error'],
  ['40001', 'internal_error'],
])('the server’s %s is %s', (state, code) => {
  const error = toStorageError(serverError(state), 'select $1')
  expect(error.code).toBe(code)
  expect(error.message).toContain('select $1')
  expect(error.message).not.toContain('value')
  expect(error.publicMessage).not.toContain('select')
})

test('a failure of the connection can be tried again, a mistake in the program cannot be taken for one', () => {
  const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
  expect(toStorageError(refused)).toMatchObject({ code: 'storage_unavailable', retryable: true })
  expect(toStorageError(new Error('Query read timeout'))).toMatchObject({ code: 'storage_unavailable' })
  expect(toStorageError(new TypeError('x is not a function'))).toMatchObject({ code: 'internal_error' })
})

test('a connection is kept only when the server itself answered and stays', () => {
  expect(leavesConnectionUsable(serverError('23505'))).toBe(true)
  expect(leavesConnectionUsable(serverError('57P01', 'FATAL'))).toBe(false)
  expect(leavesConnectionUsable(new Error('Query read timeout'))).toBe(false)
})
