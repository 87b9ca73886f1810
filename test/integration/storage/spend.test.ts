import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { SpendService } from '../../../src/auth/spend.ts'
import { UsageService } from '../../../src/auth/usage.ts'
import type { SpendClaim, SpendReservation } from '../../../src/contracts/limits.ts'
import { ManualClock } from '../../../src/core/clock.ts'
import { silentLog } from '../../../src/core/log.ts'
import { seededRandom } from '../../../src/core/random.ts'
import { type Database, openDatabase } from '../../../src/storage/database.ts'
import { migrate } from '../../../src/storage/migrate.ts'
import { acrossOrganisations } from '../../../src/storage/tenancy.ts'
import { keepUsagePartitions } from '../../../src/storage/usage-partitions.ts'
import { systemClock } from '../../../src/system.ts'
import { usageRecord } from '../../support/usage-records.ts'
import { describeServers, type TestServer } from './servers.ts'

const limits = { acquireTimeoutMs: 20_000, queryTimeoutMs: 20_000, log: silentLog, clock: systemClock }
const ORGANISATION = 'org_default'
const DAY_MS = 86_400_000
/** Within the hours of the test's records. */
const NOW_MS = Date.UTC(2026, 0, 15, 12)
const sinceMs = Date.UTC(2026, 0, 15)

const ours = { kind: 'organisation', id: ORGANISATION } as const
const claim = (changes: Partial<SpendClaim> = {}): SpendClaim => ({
  subject: ours,
  model: undefined,
  sinceMs,
  amount: 1_000,
  cost: 10,
  ...changes,
})

describeServers((start) => {
  let server: TestServer
  let database: Database
  let clock: ManualClock
  let spend: SpendService
  let usage: UsageService

  beforeAll(async () => {
    server = await start()
    await migrate({ connection: server.connection, log: silentLog, clock: systemClock })
    database = openDatabase(server.connection, limits)
    usage = new UsageService(database)
  })
  afterAll(async () => {
    await database?.close()
    await server?.stop()
  })
  beforeEach(async () => {
    clock = new ManualClock(NOW_MS)
    spend = new SpendService(database, clock)
    await acrossOrganisations(database, (queries) =>
      queries.query('truncate usage_records, usage_hourly, spend_daily, spend_reservations'),
    )
  })

  const reserve = (
    requestId: string,
    claims: readonly SpendClaim[],
    changes: Partial<SpendReservation> = {},
  ) =>
    spend.reserveSpend({
      organisationId: ORGANISATION,
      requestId,
      expiresAtMs: NOW_MS + 60_000,
      claims,
      ...changes,
    })
  const spentOf = async (changes: Partial<SpendClaim> = {}) =>
    (await spend.spent(ORGANISATION, [claim(changes)]))[0]

  describe('what was spent', () => {
    test('is the cost of the records, once, however often a batch is delivered', async () => {
      const random = seededRandom(4)
      const batch = Array.from({ length: 200 }, (_, number) =>
        usageRecord(number, {
          cost: Math.floor(1e6 * random.uniform()),
          projectId: `proj_${number % 3}`,
          keyId: `key_${number % 5}`,
          userId: number % 2 === 0 ? `user_${number % 4}` : undefined,
          model: `model-${number % 2}`,
        }),
      )
      await Promise.all([
        usage.record(batch),
        usage.record([...batch].reverse()),
        usage.record(batch.slice(50)),
      ])
      await usage.record(batch)
      const sum = (of: (one: (typeof batch)[number]) => boolean) =>
        batch.filter(of).reduce((all, { cost }) => all + cost, 0)
      const asked = [
        claim(),
        claim({ subject: { kind: 'project', id: 'proj_1' } }),
        claim({ subject: { kind: 'key', id: 'key_4' } }),
        claim({ subject: { kind: 'user', id: 'user_2' } }),
        claim({ model: 'model-1' }),
        claim({ subject: { kind: 'key', id: 'key_4' }, model: 'model-1' }),
        claim({ subject: { kind: 'key', id: 'key_none' } }),
        claim({ sinceMs: sinceMs + DAY_MS }),
      ]
      expect(await spend.spent(ORGANISATION, asked)).toEqual([
        sum(() => true),
        sum(({ projectId }) => projectId === 'proj_1'),
        sum(({ keyId }) => keyId === 'key_4'),
        sum(({ userId }) => userId === 'user_2'),
        sum(({ model }) => model === 'model-1'),
        sum(({ keyId, model }) => keyId === 'key_4' && model === 'model-1'),
        0,
        0,
      ])
      const [summary] = await usage.summary({
        organisationId: ORGANISATION,
        fromMs: sinceMs,
        toMs: sinceMs + DAY_MS,
        groupBy: 'day',
      })
      expect(summary?.cost).toBe(sum(() => true))
      expect(
        await spend.spent('org_other', [claim({ subject: { kind: 'organisation', id: 'org_other' } })]),
      ).toEqual([0])
    })

    test('holds what is reserved, until its record arrives: neither gap nor double', async () => {
      expect(await reserve('req_a', [claim()])).toBeUndefined()
      expect(await spentOf()).toBe(10)
      await usage.record([usageRecord(1, { requestId: 'req_a', cost: 7 })])
      expect(await spentOf()).toBe(7)
      // A reservation that is given back afterwards was ended by the record already.
      await spend.releaseSpend(ORGANISATION, ['req_a'])
      expect(await spentOf()).toBe(7)
    })

    test('of other organisations is nobody’s to see, nor theirs to release', async () => {
      await reserve('req_a', [claim()])
      await spend.releaseSpend('org_other', ['req_a'])
      expect(await spentOf()).toBe(10)
      expect(await spend.spent('org_other', [claim()])).toEqual([0])
    })
  })

  describe('a reservation', () => {
    test('takes all of its claims or none, and says which has too little', async () => {
      const key = { kind: 'key', id: 'key_1' } as const
      const both = [claim(), claim({ subject: key, amount: 25 })]
      expect(await reserve('req_1', both)).toBeUndefined()
      expect(await reserve('req_2', both)).toBeUndefined()
      expect(await reserve('req_3', both)).toBe(1)
      expect(await spend.spent(ORGANISATION, both)).toEqual([20, 20])
    })

    test('of the same request twice is once', async () => {
      const tight = [claim({ amount: 10 })]
      expect(await reserve('req_1', tight)).toBeUndefined()
      expect(await reserve('req_1', tight)).toBeUndefined()
      expect(await spentOf()).toBe(10)
    })

    test('for budgets of several periods is taken once from each', async () => {
      const claims = [claim(), claim({ sinceMs: Date.UTC(2026, 0, 1) })]
      await reserve('req_1', claims)
      expect(await spend.spent(ORGANISATION, claims)).toEqual([10, 10])
    })

    test('is given back', async () => {
      const tight = [claim({ amount: 10 })]
      await reserve('req_1', tight)
      expect(await reserve('req_2', tight)).toBe(0)
      await spend.releaseSpend(ORGANISATION, ['req_1', 'req_none'])
      expect(await reserve('req_2', tight)).toBeUndefined()
    })

    test('that has expired counts no more, can be made again, and is swept', async () => {
      const tight = [claim({ amount: 10 })]
      await reserve('req_1', tight)
      clock.advance(60_000)
      expect(await spentOf()).toBe(0)
      expect(await reserve('req_1', tight, { expiresAtMs: NOW_MS + 120_000 })).toBeUndefined()
      expect(await spentOf()).toBe(10)
      await keepUsagePartitions(database, {
        nowMs: NOW_MS + 180_000,
        retentionMs: 400 * DAY_MS,
        log: silentLog,
      })
      const left = await acrossOrganisations(database, (queries) =>
        queries.query('select from spend_reservations'),
      )
      expect(left).toEqual([])
    })
  })

  test('eight gateways at a budget of a hundred requests get exactly a hundred', async () => {
    const databases = Array.from({ length: 8 }, () =>
      openDatabase(server.connection, { ...limits, connectionsMax: 1 }),
    )
    const granted: string[] = []
    await Promise.all(
      databases.map(async (one, gateway) => {
        const service = new SpendService(one, clock)
        for (let number = 0; number < 30; number++) {
          const requestId = `req_${gateway}_${number}`
          const claims = [
            claim({ amount: 1_000, cost: 10 }),
            claim({ subject: { kind: 'key', id: `key_${gateway}` } }),
          ]
          const refused = await service.reserveSpend({
            organisationId: ORGANISATION,
            requestId,
            expiresAtMs: NOW_MS + 60_000,
            claims,
          })
          if (refused !== undefined) continue
          granted.push(requestId)
          // Half of them are over at once, at what was reserved: the record takes the place of the reservation.
          if (number % 2 === 0) {
            await new UsageService(one).record([
              usageRecord(1_000 * gateway + number, { requestId, cost: 10, startedAtMs: NOW_MS }),
            ])
          }
        }
      }),
    )
    expect(granted).toHaveLength(100)
    expect(await spentOf()).toBe(1_000)
    await Promise.all(databases.map((one) => one.close()))
  })

  test('what was spent outlives short retention for as long as a budget can last', async () => {
    const record = usageRecord(1, { cost: 5, startedAtMs: sinceMs })
    await usage.record([record])
    const upkeep = { retentionMs: DAY_MS, log: silentLog }
    await keepUsagePartitions(database, { ...upkeep, nowMs: sinceMs + 30 * DAY_MS })
    expect(await spentOf()).toBe(5)
    await keepUsagePartitions(database, { ...upkeep, nowMs: sinceMs + 32 * DAY_MS })
    expect(await spentOf()).toBe(0)
  })
})
