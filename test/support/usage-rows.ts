import { join } from 'node:path'
import { silentLog } from '../../src/core/log.ts'
import { openDatabase } from '../../src/storage/database.ts'
import { startEmbeddedPostgres } from '../../src/storage/embedded-postgres.ts'
import { acrossOrganisations } from '../../src/storage/tenancy.ts'
import { systemClock } from '../../src/system.ts'

/** What these tests look at. */
export interface UsageRow {
  readonly request_id: string
  readonly prompt_tokens: string
  readonly completion_tokens: string
  readonly streamed: boolean
  readonly estimated: boolean
  readonly model: string
  readonly route: string
  readonly status: number
  readonly error_code: string | null
  readonly user_label: string | null
  readonly duration_ms: number
  readonly first_token_ms: number | null
}

/** All usage of a server that has been stopped, from its own database. */
export async function usageIn(
  home: string,
): Promise<{ rows: readonly UsageRow[]; sums: { requests: string; completion: string } }> {
  const postgres = await startEmbeddedPostgres({
    directory: join(home, 'postgres'),
    runtimeDirectory: join(home, 'run'),
    log: silentLog,
    clock: systemClock,
  })
  const database = openDatabase(postgres.connection, {
    acquireTimeoutMs: 5_000,
    queryTimeoutMs: 5_000,
    log: silentLog,
    clock: systemClock,
  })
  try {
    return await acrossOrganisations(database, async (queries) => {
      const rows = await queries.query<UsageRow>('select * from usage_records')
      const [sums = { requests: '', completion: '' }] = await queries.query<{
        requests: string
        completion: string
      }>('select sum(requests) as requests, sum(completion_tokens) as completion from usage_hourly')
      return { rows, sums }
    })
  } finally {
    await database.close()
    await postgres.stop()
  }
}
