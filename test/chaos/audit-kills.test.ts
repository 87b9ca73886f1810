import { test } from 'vitest'
import { killAndAudit } from '../support/audit-kills.ts'

test('however often the database dies, there is no change without its audit entry and no entry without its change', () =>
  killAndAudit(200))
