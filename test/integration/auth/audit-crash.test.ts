import { test } from 'vitest'
import { killAndAudit } from '../../support/audit-kills.ts'

test('however the database dies, there is no change without its audit entry and no entry without its change', () =>
  killAndAudit(4))
