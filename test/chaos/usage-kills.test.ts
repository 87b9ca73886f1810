import { test } from 'vitest'
import { killAndCompare } from '../support/usage-kills.ts'

test('every answer that a client saw whole has one record, however often the gateway is killed', () =>
  killAndCompare(50, 50))
