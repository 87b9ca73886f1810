import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type RunningAuth, startAuth } from '../../../src/auth/start.ts'
import type { UsageRecord } from '../../../src/contracts/usage.ts'
import { silentLog } from '../../../src/core/log.ts'
import { seededRandom } from '../../../src/core/random.ts'
import { UsageDelivery } from '../../../src/gateway/usage/delivery.ts'
import { Spool } from '../../../src/gateway/usage/spool.ts'
import { type Database, openDatabase } from '../../../src/storage/database.ts'
import type { EmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { acrossOrganisations, inOrganisation, type TenantQueries } from '../../../src/storage/tenancy.ts'
import { keepUsagePartitions } from '../../../src/storage/usage-partitions.ts'
import { systemClock } from '../../../src/system.ts'
import { authSettings } from '../../support/auth-settings.ts'
import { noKpis } from '../../support/no-kpis.ts'
import { usageRecord } from '../../support/usage-records.ts'
import { DatabasePlace, postmasterPid } from '../storage/database-place.ts'

const DAY_MS = 86_400_000
const RETENTION_MS = 400 * DAY_MS
const limits = { acquireTimeoutMs: 2_000, queryTimeoutMs: 5_000, log: silentLog, clock: systemClock }

let place: DatabasePlace
let postgres: EmbeddedPostgres
let database: Database
let running: RunningAuth
beforeAll(async () => {
  place = await DatabasePlace.withDatabase()
  postgres = await place.start()
  database = openDatabase(postgres.connection, limits)
  running = await startAuth({
    connection: postgres.connection,
    pepperFile: join(place.root, 'pepper'),
    config: authSettings,
    usageRetentionMs: RETENTION_MS,
    responsesRetentionMs: 30 * 86_400_000,
    kpis: noKpis,
    ...limits,
  })
})
afterAll(async () => {
  await Promise.all([running.stop(), database.close()])
  await postgres.stop()
  await place.remove()
})
beforeEach(async () => {
  await everywhere('truncate usage_records, usage_hourly')
})

async function everywhere<Row extends object>(sql: string, values: unknown[] = []): Promise<readonly Row[]> {
  return acrossOrganisations(database, (queries) => queries.query<Row & Record<string, unknown>>(sql, values))
}

async function count(table: string): Promise<number> {
  const [row] = await everywhere<{ count: string }>(`select count(*) from ${table}`)
  return Number(row?.count)
}

/** What the sums must be, from the rows. */
async function expectSumsOfRows(): Promise<void> {
  const columns =
    'organisation_id, hour, project_id, model, requests, errors, prompt_tokens, completion_tokens'
  const sums = await everywhere(`select ${columns} from usage_hourly order by 1, 2, 3, 4`)
  const rows = await everywhere(
    `select organisation_id, date_trunc('hour', started_at, 'UTC') as hour, project_id, model, count(*) as requests,
       count(*) filter (where status >= 400) as errors, sum(prompt_tokens)::bigint as prompt_tokens,
       sum(completion_tokens)::bigint as completion_tokens
     from usage_records group by 1, 2, 3, 4 order by 1, 2, 3, 4`,
  )
  expect(sums).toEqual(rows)
}

function records(from: number, to: number, changes: Partial<UsageRecord> = {}): UsageRecord[] {
  return Array.from({ length: to - from }, (_, at) => usageRecord(from + at, changes))
}

describe('a record', () => {
  test('is read back as it was given, with everything and with the least', async () => {
    const full = usageRecord(1, {
      status: 499,
      errorCode: 'client_closed_request',
      firstTokenMs: 3.2,
      user: 'Zoë \u{1f600}',
      cachedTokens: 5,
      estimated: true,
      streamed: true,
    })
    const least = usageRecord(2)
    await running.usage.record([full, least])
    const query = { organisationId: 'org_default', fromMs: 0, toMs: Date.now() + 1e9, limit: 10 }
    expect(await running.usage.list(query)).toEqual({ records: [least, full], next: undefined })
  })

  test('counts once, however often and from however many sides it comes', async () => {
    const random = seededRandom(3)
    const all = records(0, 300).map((record, at) => ({
      ...record,
      projectId: `proj_${at % 3}`,
      model: `model-${at % 4}`,
      status: at % 10 === 0 ? 502 : 200,
    }))
    const batches = Array.from({ length: 40 }, () => {
      const start = Math.floor(random.uniform() * all.length)
      return [...all.slice(start, start + 60)].sort(() => random.uniform() - 0.5)
    })
    await Promise.all([...batches, all].map((batch) => running.usage.record(batch)))
    expect(await count('usage_records')).toBe(all.length)
    await expectSumsOfRows()
  })

  test('that no column takes is refused as such, and nothing of its batch is kept', async () => {
    for (const wrong of [
      { user: 'a\u0000b' },
      { promptTokens: -1 },
      { status: 1e6 },
      { promptTokens: 1e30 },
    ]) {
      const batch = [usageRecord(1), usageRecord(2, wrong)]
      await expect(running.usage.record(batch)).rejects.toMatchObject({ code: 'invalid_value' })
    }
    expect(await count('usage_records')).toBe(0)
    expect(await count('usage_hourly')).toBe(0)
  })
})

test('the database dies again and again: records wait in the spool, and every one arrives once', async () => {
  const spool = new Spool({
    directory: join(place.root, 'spool'),
    bytesMax: 2 ** 24,
    token: 'outage',
    clock: systemClock,
    log: silentLog,
  })
  const delivery = new UsageDelivery({ spool, sink: running.usage, clock: systemClock, log: silentLog })
  let number = 0
  const append = (many: number) => {
    for (const end = number + many; number < end; number++) {
      expect(spool.reserve(1_024)).toBe(true)
      spool.append(usageRecord(number), 1_024)
      delivery.notify()
    }
  }
  for (let round = 0; round < 3; round++) {
    append(1_000)
    // The first rows are in, the rest is on its way.
    await expect
      .poll(() => count('usage_records').catch(() => -1), { timeout: 10_000, interval: 5 })
      .toBeGreaterThan(round * 1_500)
    const pid = await postmasterPid(postgres.directory)
    process.kill(pid, 'SIGKILL')
    append(500)
    await expect
      .poll(() => postmasterPid(postgres.directory).catch(() => pid), { timeout: 20_000 })
      .not.toBe(pid)
    await expect.poll(() => count('usage_records').catch(() => -1), { timeout: 20_000 }).toBe(number)
  }
  await delivery.stop()
  expect(await count('usage_records')).toBe(4_500)
  await expectSumsOfRows()
})

describe('the answers', () => {
  const organisationId = 'org_default'
  const dayMs = Date.UTC(2026, 0, 15)
  const range = { organisationId, fromMs: dayMs, toMs: dayMs + 10 * DAY_MS }

  beforeEach(async () => {
    await running.usage.record([
      ...records(0, 300, { projectId: 'proj_a' }),
      ...records(300, 400, { projectId: 'proj_b', model: 'other', status: 502 }),
      ...records(1_000, 1_100, { organisationId: 'org_other' }),
    ])
  })

  test.each([
    ['hour', 40],
    ['day', 2],
    ['model', 2],
    ['project', 2],
  ] as const)('by %s add up to everything of that organisation', async (groupBy, groups) => {
    const rows = await running.usage.summary({ ...range, groupBy })
    expect(rows).toHaveLength(groups)
    const sum = (of: 'requests' | 'errors' | 'promptTokens' | 'completionTokens') =>
      rows.reduce((all, row) => all + row[of], 0)
    const tokens = records(0, 400).reduce((all, { completionTokens }) => all + completionTokens, 0)
    expect([sum('requests'), sum('errors'), sum('promptTokens'), sum('completionTokens')]).toEqual([
      400,
      100,
      2_800,
      tokens,
    ])
    expect(rows.map(({ group }) => group)).toEqual(rows.map(({ group }) => group).sort())
  })

  test('are for a project, a model, a time', async () => {
    expect(await running.usage.summary({ ...range, projectId: 'proj_b', groupBy: 'model' })).toMatchObject([
      { group: 'other', requests: 100, errors: 100 },
    ])
    expect(await running.usage.summary({ ...range, model: 'tiny', groupBy: 'project' })).toMatchObject([
      { group: 'proj_a', requests: 300, errors: 0 },
    ])
    const hours = await running.usage.summary({ ...range, toMs: dayMs + 2 * 3_600_000, groupBy: 'hour' })
    expect(hours.map(({ group, requests }) => [group, requests])).toEqual([
      ['2026-01-15T00:00:00.000Z', 10],
      ['2026-01-15T01:00:00.000Z', 10],
    ])
  })

  test('come page by page without a gap, newest first, also where many began in the same moment', async () => {
    const sameMs = dayMs + 5 * DAY_MS
    await running.usage.record(records(5_000, 5_050, { startedAtMs: sameMs }))
    const found: UsageRecord[] = []
    let after: { startedAtMs: number; requestId: string } | undefined
    do {
      const page = await running.usage.list({ ...range, limit: 7, after })
      found.push(...page.records)
      after = page.next
    } while (after)
    expect(found).toHaveLength(450)
    expect(new Set(found.map(({ requestId }) => requestId)).size).toBe(450)
    const times = found.map(({ startedAtMs }) => startedAtMs)
    expect(times).toEqual([...times].sort((a, b) => b - a))
    expect((await running.usage.list({ ...range, projectId: 'proj_b', limit: 1_000 })).records).toHaveLength(
      100,
    )
  })

  test.each([
    [{ limit: 0 }, 'limit'],
    [{ limit: 1_001 }, 'limit'],
    [{ fromMs: -1 }, 'fromMs'],
    [{ toMs: Number.NaN }, 'toMs'],
  ])('to %j are refused', async (wrong, param) => {
    const asked = { ...range, limit: 10, ...wrong }
    await expect(running.usage.list(asked)).rejects.toMatchObject({ code: 'invalid_value', param })
  })

  test('are found by an index, in the months that they are about', async () => {
    await running.usage.record(records(10_000, 13_000, { projectId: 'proj_c' }))
    await everywhere('analyze usage_records, usage_hourly')
    const plan = async (sql: string) => {
      const rows = await everywhere<{ 'QUERY PLAN': string }>(`explain ${sql}`)
      return rows.map((row) => row['QUERY PLAN']).join('\n')
    }
    const time = `started_at >= '2026-01-15' and started_at < '2026-01-16'`
    const order = 'order by started_at desc, request_id desc limit 100'
    for (const project of ['', `and project_id = 'proj_a'`]) {
      const text = await plan(
        `select * from usage_records where organisation_id = 'org_default' and ${time} ${project} ${order}`,
      )
      expect(text).toContain('Index Scan')
      expect(text).not.toContain('Seq Scan')
    }
  })
})

describe('another organisation', () => {
  async function seenBy(organisation: string, sql: string): Promise<number> {
    return database.transaction(async (transaction) => {
      await transaction.query(`select set_config('helixflow.organisation', $1, true)`, [organisation])
      const [row] = await (transaction as TenantQueries).query<{ count: string }>(sql)
      return Number(row?.count)
    })
  }

  test('sees no row, whatever the statement says, not even by the name of a partition', async () => {
    await keepUsagePartitions(database, {
      nowMs: Date.UTC(2026, 0, 20),
      retentionMs: RETENTION_MS,
      log: silentLog,
    })
    await running.usage.record([...records(0, 10), ...records(10, 15, { organisationId: 'org_other' })])
    await running.usage.record(records(20, 22, { startedAtMs: Date.UTC(2040, 0, 1) }))
    const tables = ['usage_records', 'usage_hourly', 'usage_records_default', 'usage_records_2026_01']
    const seen = (organisation: string) =>
      Promise.all(tables.map((table) => seenBy(organisation, `select count(*) from ${table}`)))
    expect(await seen('org_other')).toEqual([5, 1, 0, 5])
    expect(await seen('org_default')).toEqual([12, 2, 2, 10])
    expect(await seen('')).toEqual([0, 0, 0, 0])
    expect((await seen('*'))[0]).toBe(17)
  })

  test('is not in the answers', async () => {
    await running.usage.record(records(0, 5, { organisationId: 'org_other' }))
    const asked = { organisationId: 'org_default', fromMs: 0, toMs: Date.now() + 1e9 }
    expect((await running.usage.list({ ...asked, limit: 10 })).records).toEqual([])
    expect(await running.usage.summary({ ...asked, groupBy: 'day' })).toEqual([])
    const seen = await inOrganisation(database, 'org_default', (queries) =>
      queries.query(`select from usage_hourly where organisation_id = 'org_default'`),
    )
    expect(seen).toEqual([])
  })
})

describe('partitions', () => {
  const nowMs = Date.UTC(2031, 4, 17)
  const upkeep = { nowMs, retentionMs: RETENTION_MS, log: silentLog }

  async function months(): Promise<string[]> {
    const rows = await everywhere<{ name: string }>(
      `select inhrelid::regclass::text as name from pg_inherits where inhparent = 'usage_records'::regclass order by 1`,
    )
    return rows.map(({ name }) => name)
  }

  test('are there ahead of time, made by one of many processes, and those that are too old go', async () => {
    await keepUsagePartitions(database, { ...upkeep, nowMs: nowMs - 500 * DAY_MS })
    await running.usage.record([
      usageRecord(1, { startedAtMs: nowMs - 499 * DAY_MS }),
      usageRecord(2, { startedAtMs: nowMs - 399 * DAY_MS }),
      usageRecord(3, { startedAtMs: nowMs - 1_000 * DAY_MS }),
    ])
    await Promise.all(Array.from({ length: 4 }, () => keepUsagePartitions(database, upkeep)))
    // Whoever came while another did the work has returned at once.
    await keepUsagePartitions(database, upkeep)
    expect((await months()).slice(-4)).toEqual([
      'usage_records_2031_05',
      'usage_records_2031_06',
      'usage_records_2031_07',
      'usage_records_default',
    ])
    expect(await months()).not.toContain('usage_records_2030_01')
    const left = await everywhere<{ request_id: string }>('select request_id from usage_records')
    expect(left.map(({ request_id }) => request_id)).toEqual([usageRecord(2).requestId])
    expect(await count('usage_hourly')).toBe(1)
  })

  test('that come late take in what came before them; nothing is lost and nothing counts twice', async () => {
    const lateMs = Date.UTC(2033, 1, 10)
    const late = records(0, 50).map((record, at) => ({ ...record, startedAtMs: lateMs + at }))
    await running.usage.record(late)
    expect(await count('usage_records_default')).toBe(50)
    await keepUsagePartitions(database, { ...upkeep, nowMs: lateMs })
    expect(await count('usage_records_default')).toBe(0)
    expect(await count('usage_records_2033_02')).toBe(50)
    await running.usage.record(late)
    expect(await count('usage_records')).toBe(50)
    await expectSumsOfRows()
  })
})
