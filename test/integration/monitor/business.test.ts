import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ManualClock } from '../../../src/core/clock.ts'
import { silentLog } from '../../../src/core/log.ts'
import { Kpis } from '../../../src/monitor/kpis.ts'
import { Silences } from '../../../src/monitor/silences.ts'
import { type Database, openDatabase } from '../../../src/storage/database.ts'
import type { EmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { insertPoints, seriesIds } from '../../../src/storage/history.ts'
import { migrate } from '../../../src/storage/migrate.ts'
import { insertUsage } from '../../../src/storage/usage.ts'
import { systemClock } from '../../../src/system.ts'
import { usageRecord } from '../../support/usage-records.ts'
import { DatabasePlace } from '../storage/database-place.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const NOW_MS = Date.UTC(2026, 10, 12, 9, 30)
const SPAN = { fromMs: NOW_MS - 2 * DAY_MS, toMs: NOW_MS, groupBy: 'model' } as const
const UNIT = 1_000_000_000

let place: DatabasePlace
let postgres: EmbeddedPostgres
let database: Database
beforeAll(async () => {
  place = await DatabasePlace.withDatabase()
  postgres = await place.start()
  await migrate({ connection: postgres.connection, log: silentLog, clock: systemClock })
  database = openDatabase(postgres.connection, {
    acquireTimeoutMs: 1_000,
    queryTimeoutMs: 5_000,
    log: silentLog,
    clock: systemClock,
  })
})
afterAll(async () => {
  await database?.close()
  await postgres?.stop()
  await place?.remove()
})

function kpis(deviceCosts: Readonly<Record<string, number>> = {}): Kpis {
  const clock = new ManualClock(NOW_MS)
  const devices = async () => [{ id: 'GPU-1', kind: 'cuda' }]
  return new Kpis({ database, clock, deviceCosts, minutesKeptMs: 14 * 24 * 3_600_000, devices })
}

describe('business figures', () => {
  beforeAll(async () => {
    const at = (ago: number) => ({ startedAtMs: NOW_MS - ago * HOUR_MS })
    const priced = { model: 'own', cost: 5, completionTokens: 100, promptTokens: 10 }
    await insertUsage(database, [
      ...[1, 2, 3].map((number) =>
        usageRecord(number, {
          ...priced,
          ...at(number),
          durationMs: number * 100,
          userId: 'user_a',
          firstTokenMs: 10,
        }),
      ),
      usageRecord(4, { ...priced, ...at(1), durationMs: 400, cache: 'hit', keyId: 'key_2' }),
      usageRecord(5, {
        ...priced,
        ...at(1),
        organisationId: 'org_other',
        projectId: 'proj_other',
        completionTokens: 400,
      }),
      usageRecord(6, { ...at(2), model: 'bought', cost: 90, completionTokens: 7, status: 502 }),
      usageRecord(7, { ...at(24 * 5), model: 'own' }),
    ])
    // For ten hours the model took a quarter of a device, and for none of another.
    const [model = 0, total = 0] = await seriesIds(database, [
      { figure: 'model-memory', labels: { model: 'own', device: 'GPU-1' } },
      { figure: 'device-memory', labels: { device: 'GPU-1', kind: 'total' } },
    ])
    const points = Array.from({ length: 10 }, (_, hour) => {
      const atMs = Math.floor(NOW_MS / HOUR_MS - 1 - hour) * HOUR_MS
      return [
        { seriesId: model, atMs, value: 20 },
        { seriesId: total, atMs, value: 80 },
      ]
    })
    await insertPoints(database, 3_600, points.flat())
  })

  test('sum up, for the operator, what everybody did, the costliest first', async () => {
    const { total, rows } = await kpis().report(SPAN)
    expect(rows.map(({ group, requests }) => [group, requests])).toEqual([
      ['bought', 1],
      ['own', 5],
    ])
    expect(total).toMatchObject({ group: 'total', requests: 6, errors: 1, cost: 115, activeUsers: 3 })
    expect(total.deviceCost).toBeUndefined()
    expect(rows[1]).toMatchObject({
      completionTokens: 800,
      cacheHitRatio: 0.2,
      firstTokenP50Ms: 10,
      activeUsers: 3,
    })
  })

  test('of an organisation hold nothing of another one', async () => {
    const { total, rows } = await kpis().report({
      ...SPAN,
      organisationId: 'org_default',
      groupBy: 'organisation',
    })
    expect(rows.map(({ group }) => group)).toEqual(['org_default'])
    expect(total).toMatchObject({ requests: 5, completionTokens: 407 })
    const other = await kpis().report({ ...SPAN, organisationId: 'org_other', groupBy: 'project' })
    expect(other.rows).toMatchObject([{ group: 'proj_other', requests: 1, durationP50Ms: 12.5 }])
    expect((await kpis().report({ ...SPAN, organisationId: 'org_none' })).total.requests).toBe(0)
    const elsewhere = { ...SPAN, organisationId: 'org_other', projectId: 'proj_default' }
    expect((await kpis().report(elsewhere)).total.requests).toBe(0)
  })

  test('share what a device cost by its memory, the hours and the tokens', async () => {
    const prices = { cuda: 4 * UNIT }
    const whole = await kpis(prices).report(SPAN)
    // Ten hours at 4 an hour, of which a quarter.
    expect(whole.rows.find(({ group }) => group === 'own')?.deviceCost).toBe(10 * UNIT)
    expect(whole.total.deviceCostPerMillionTokens).toBe((10 * UNIT * 1e6) / 800)
    const other = await kpis(prices).report({ ...SPAN, organisationId: 'org_other' })
    expect(other.total.deviceCost).toBe(5 * UNIT)
    const byId = await kpis({ 'GPU-1': UNIT, '*': 9 * UNIT }).report(SPAN)
    expect(byId.total.deviceCost).toBe(2.5 * UNIT)
  })

  test('forecast the running month, and only that', async () => {
    const { forecast } = await kpis().report(SPAN)
    expect(forecast?.month).toBe('2026-11')
    expect(forecast?.requests.soFar).toBe(7)
    expect(forecast?.requests.likely).toBeGreaterThan(7)
    expect((await kpis().report({ ...SPAN, toMs: NOW_MS - DAY_MS })).forecast).toBeUndefined()
  })

  test('forecast nothing of somebody who came within the last day', async () => {
    const other = await kpis().report({ ...SPAN, organisationId: 'org_other' })
    expect(other.total.requests).toBe(1)
    expect(other.forecast).toBeUndefined()
  })

  test('are refused for a span that ends before it begins', async () => {
    await expect(kpis().report({ ...SPAN, toMs: SPAN.fromMs })).rejects.toMatchObject({
      code: 'invalid_value',
    })
  })
})

describe('silences', () => {
  const clock = new ManualClock(NOW_MS)
  const request = {
    matchers: { alert: 'NodeDown' },
    untilMs: NOW_MS + HOUR_MS,
    reason: 'moving',
    by: 'operator',
  }
  beforeEach(() => database.query('delete from alert_silences'))

  test('are kept until they end, by time or by hand', async () => {
    const silences = new Silences(database, clock)
    const first = await silences.add(request)
    const second = await silences.add({ ...request, untilMs: NOW_MS + 2 * HOUR_MS })
    expect(await silences.list()).toEqual([first, second])
    await silences.end(second.id)
    expect(await silences.list()).toEqual([first])
    await expect(silences.end(second.id)).rejects.toMatchObject({ code: 'not_found' })
    clock.advance(HOUR_MS)
    expect(await silences.list()).toEqual([])
  })

  test.each([
    ['that fit every alert', { matchers: {} }],
    ['that have ended', { untilMs: NOW_MS - 1 }],
    ['without an end to speak of', { untilMs: NOW_MS + 500 * DAY_MS }],
    ['without a reason', { reason: ' ' }],
    ['of labels that are none', { matchers: { 'a b': 'x' } }],
  ])('%s are refused', async (_name, change) => {
    const silences = new Silences(database, new ManualClock(NOW_MS))
    await expect(silences.add({ ...request, ...change })).rejects.toMatchObject({ code: 'invalid_value' })
  })
})
