import { HelixError } from '../core/errors.ts'
import type { Queries } from './database.ts'
import { ACTIVITY_CHECKS } from './doctor/activity-checks.ts'
import { CAPACITY_CHECKS } from './doctor/capacity-checks.ts'
import { advice, type Check, type DoctorFacts, type Finding } from './doctor/check.ts'
import { SCHEMA_CHECK } from './doctor/schema-check.ts'
import { SERVER_CHECKS } from './doctor/server-checks.ts'
import { TABLE_CHECKS } from './doctor/table-checks.ts'

export type { DoctorFacts, Finding } from './doctor/check.ts'

const CHECKS: readonly Check[] = [
  ...SERVER_CHECKS,
  SCHEMA_CHECK,
  ...CAPACITY_CHECKS,
  ...TABLE_CHECKS,
  ...ACTIVITY_CHECKS,
]

/**
 * Examines a database and changes nothing. What cannot be examined, mostly because this role may not, is a finding too.
 * @throws HelixError `storage_unavailable`
 */
export async function examineDatabase(database: Queries, facts: DoctorFacts): Promise<readonly Finding[]> {
  await database.query('select 1')
  const findings: Finding[] = []
  for (const check of CHECKS) {
    for (const outcome of await outcomesOf(check, database, facts))
      findings.push({ name: check.name, ...outcome })
  }
  return findings
}

async function outcomesOf(check: Check, database: Queries, facts: DoctorFacts) {
  try {
    return [await check.run(database, facts)].flat()
  } catch (reason) {
    const { message } = HelixError.from(reason)
    const remedy = 'The role of HelixFlow may see it after: grant pg_monitor to ...;'
    return [advice(`could not be examined: ${message.replaceAll(/\s+/g, ' ').slice(0, 200)}`, remedy)]
  }
}
