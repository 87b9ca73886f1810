import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { startBudgetWatch } from '../../../src/auth/budget-watch.ts'
import { type LimitRule, slotOf } from '../../../src/contracts/limits.ts'
import { ManualClock } from '../../../src/core/clock.ts'
import { silentLog } from '../../../src/core/log.ts'
import { ensureDefaultAccount } from '../../../src/storage/accounts.ts'
import { type Database, openDatabase } from '../../../src/storage/database.ts'
import type { EmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { putLimitRule } from '../../../src/storage/limit-rules.ts'
import { migrate } from '../../../src/storage/migrate.ts'
import { acrossOrganisations } from '../../../src/storage/tenancy.ts'
import { systemClock } from '../../../src/system.ts'
import { MetricValues } from '../../support/metric-values.ts'
import { DatabasePlace } from '../storage/database-place.ts'

const ORGANISATION = 'org_default'
const PROJECT = 'proj_default'
/** A Wednesday. */
const NOW_MS = Date.UTC(2026, 3, 15, 12)

let place: DatabasePlace
let postgres: EmbeddedPostgres
let database: Database
beforeAll(async () => {
  place = await DatabasePlace.withDatabase()
  postgres = await place.start()
  await migrate({ connection: postgres.connection, log: silentLog, clock: systemClock })
  database = openDatabase(postgres.connection, {
    acquireTimeoutMs: 5_000,
    queryTimeoutMs: 20_000,
    log: silentLog,
    clock: systemClock,
  })
  await acrossOrganisations(database, async (queries) => {
    await ensureDefaultAccount(queries, NOW_MS)
    await queries.query(
      `insert into api_keys (id, organisation_id, project_id, name, secret_hmac, scopes, created_at)
       select 'key_' || n, $1, $2, 'k', sha256(n::text::bytea), '{inference}', now() from generate_series(1, 300) n`,
      [ORGANISATION, PROJECT],
    )
  })
})
afterAll(async () => {
  await database?.close()
  await postgres?.stop()
  await place?.remove()
})
beforeEach(() =>
  acrossOrganisations(database, async (queries) => {
    await queries.query('delete from limit_rules')
    await queries.query('delete from spend_daily')
  }),
)

const budget = (id: string, on: LimitRule['on'], rest: Partial<LimitRule> = {}): LimitRule => ({
  ...{ id, on, each: undefined, measure: 'money', model: undefined, amount: 100, algorithm: 'token-bucket' },
  ...{ windowMs: 0, burst: undefined, period: 'month', shapeMaxWaitMs: 0, ...rest },
})
const org = { kind: 'organisation', id: ORGANISATION } as const
const project = { kind: 'project', id: PROJECT } as const
const key = (number: number) => ({ kind: 'key', id: `key_${number}` }) as const

async function set(...rules: readonly LimitRule[]): Promise<void> {
  await acrossOrganisations(database, async (queries) => {
    for (const rule of rules) {
      const projectId = rule.on.kind === 'organisation' ? undefined : PROJECT
      await putLimitRule(queries, { ...rule, organisationId: ORGANISATION, projectId, createdAtMs: NOW_MS })
    }
  })
}

async function spend(day: string, keyId: string, cost: number, model = 'm'): Promise<void> {
  await acrossOrganisations(database, (queries) =>
    queries.query(`insert into spend_daily values ($1, $2, $3, $4, '', $5, $6)`, [
      ...[ORGANISATION, day, PROJECT, keyId, model, cost],
    ]),
  )
}

/** What is told at first, and half a minute later after `then`. */
async function watched(then: () => Promise<void> = async () => {}) {
  const metrics = new MetricValues()
  const clock = new ManualClock(NOW_MS)
  const told = () => {
    const rules = metrics.values('helixflow_budget_used_ratio', 'rule')
    return Object.fromEntries(
      rules.map((rule) => [rule, metrics.value('helixflow_budget_used_ratio', { rule })]),
    )
  }
  const watch = await startBudgetWatch({ database, metrics, clock, log: silentLog })
  const first = told()
  await then()
  clock.advance(30_000)
  await watch.stop()
  return { first, later: told() }
}

test('a budget is as full as what was spent since its day, week or month began, of its own model alone', async () => {
  await set(
    budget('lim_month', org),
    budget('lim_week', org, { period: 'week' }),
    budget('lim_day', org, { period: 'day' }),
    budget('lim_model', project, { model: 'n' }),
    budget('lim_key', key(1)),
  )
  await spend('2026-03-31', 'key_1', 1_000)
  await spend('2026-04-01', 'key_2', 5)
  await spend('2026-04-12', 'key_2', 10)
  await spend('2026-04-13', 'key_1', 20)
  await spend('2026-04-15', 'key_1', 51)
  await spend('2026-04-15', 'key_2', 60, 'n')
  expect((await watched()).first).toEqual({
    lim_month: 1.46,
    lim_week: 1.31,
    lim_day: 1.11,
    lim_model: 0.6,
    lim_key: 0.71,
  })
})

test('a default is as full as for whoever spent most, those with a budget of their own left out', async () => {
  await set(
    budget('lim_each', org, { each: 'key' }),
    budget('lim_own', key(1), { amount: 1_000 }),
    budget('lim_far', org, { each: 'project', amount: 1_000 }),
  )
  await spend('2026-04-15', 'key_1', 900)
  await spend('2026-04-15', 'key_2', 70)
  await spend('2026-04-15', 'key_3', 60)
  expect((await watched()).first).toEqual({ lim_each: 0.7, lim_own: 0.9, lim_far: 1.03 })
  const closer = budget('lim_closer', project, { each: 'key', amount: 200 })
  await set(closer)
  expect(slotOf(closer)).toBe(slotOf(budget('lim_each', org, { each: 'key' })))
  expect((await watched()).first).toEqual({ lim_own: 0.9, lim_far: 1.03 })
})

test('one that is less than half full, or empty again, is not told of', async () => {
  await set(budget('lim_little', org, { amount: 200 }), budget('lim_half', project))
  await spend('2026-04-15', 'key_1', 50)
  const empty = () =>
    acrossOrganisations(database, async (queries) => void (await queries.query('delete from spend_daily')))
  expect(await watched(empty)).toEqual({ first: { lim_half: 0.5 }, later: {} })
})

test('of very many the two hundred fullest are told of', async () => {
  await set(...Array.from({ length: 300 }, (_, number) => budget(`lim_${number + 1}`, key(number + 1))))
  await acrossOrganisations(database, (queries) =>
    queries.query(
      `insert into spend_daily select $1, '2026-04-15', $2, 'key_' || n, '', 'm', 100 + n from generate_series(1, 300) n`,
      [ORGANISATION, PROJECT],
    ),
  )
  const { first } = await watched()
  expect(Object.keys(first)).toHaveLength(200)
  expect(Math.min(...Object.values(first).map(Number))).toBe(2.01)
})
