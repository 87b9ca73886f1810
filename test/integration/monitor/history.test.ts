import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ManualClock } from '../../../src/core/clock.ts'
import { silentLog } from '../../../src/core/log.ts'
import { MetricRegistry } from '../../../src/metrics/registry.ts'
import { readFigures } from '../../../src/monitor/history-reader.ts'
import { HistoryWriter } from '../../../src/monitor/history-writer.ts'
import { type Database, openDatabase } from '../../../src/storage/database.ts'
import type { EmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { migrate } from '../../../src/storage/migrate.ts'
import { systemClock } from '../../../src/system.ts'
import { DatabasePlace } from '../storage/database-place.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR
const START = Date.UTC(2026, 10, 28, 12)
const RETENTION = { '10s': 2 * HOUR, '1m': 2 * DAY, '1h': 30 * DAY }

let place: DatabasePlace
let postgres: EmbeddedPostgres
let database: Database
beforeAll(async () => {
  place = await DatabasePlace.withDatabase()
  postgres = await place.start()
  await migrate({ connection: postgres.connection, log: silentLog, clock: systemClock })
})
beforeEach(() => {
  const options = { connectionsMax: 2, acquireTimeoutMs: 1_000, queryTimeoutMs: 1_000 }
  database = openDatabase(postgres.connection, { ...options, log: silentLog, clock: systemClock })
})
afterEach(async () => {
  await database.query('truncate history_series, history_points')
  await database.close()
})
afterAll(async () => {
  await postgres?.stop()
  await place?.remove()
})

/** A writer as a process has it, and what time it is there. */
function newWriter(clock: ManualClock, over = database) {
  const metrics = new MetricRegistry()
  const options = { database: over, retention: RETENTION, metrics, clock, log: silentLog }
  const writer = new HistoryWriter(options)
  const counted = (name: string) =>
    [...metrics.samples()].filter((one) => one.name === name).reduce((sum, { value }) => sum + value, 0)
  return { writer, counted }
}

const values = (value: number) => [
  { figure: 'requests', labels: {}, value },
  { figure: 'tokens', labels: { direction: 'prompt' }, value: 10 * value },
]

/** Rounds every 10 seconds, each written at once; the value is the number of the round. */
async function rounds(writer: HistoryWriter, clock: ManualClock, count: number): Promise<void> {
  for (let round = 0; round < count; round++) {
    // Not on the full ten seconds: no monitor's rounds are.
    writer.take(clock.now() + 3_210, values(round))
    clock.advance(10_000)
    await writer.flush()
  }
}

function read(clock: ManualClock, resolution: '10s' | '1m' | '1h', figures = ['requests']) {
  const query = { figures, fromMs: 0, toMs: clock.now() + DAY, resolution }
  return readFigures({ database, retention: RETENTION, clock }, query)
}

describe('the history', () => {
  test('has a point for each round, and of whole minutes and hours the mean, the least and the most', async () => {
    const clock = new ManualClock(START + 59 * 60_000)
    const { writer, counted } = newWriter(clock)
    await rounds(writer, clock, 15)
    const [fine] = await read(clock, '10s')
    expect(fine).toMatchObject({ figure: 'requests', title: 'Requests', unit: '1/s', resolution: '10s' })
    expect(fine?.points.map(({ value }) => value)).toEqual(Array.from({ length: 15 }, (_, at) => at))
    expect(fine?.points[1]?.atMs).toBe(START + 59 * 60_000 + 10_000)
    const [minutes] = await read(clock, '1m')
    expect(minutes?.points).toEqual([
      { atMs: START + 59 * 60_000, value: 2.5, low: 0, high: 5 },
      { atMs: START + 60 * 60_000, value: 8.5, low: 6, high: 11 },
    ])
    const [hours] = await read(clock, '1h', ['tokens'])
    expect(hours?.labels).toEqual({ direction: 'prompt' })
    expect(hours?.points).toEqual([{ atMs: START, value: 25, low: 0, high: 50 }])
    expect(counted('helixflow_history_points_total')).toBe(15 * 2 + 2 * 2 + 1 * 2)
  })

  test('is the same after a restart in the middle of a minute, and when a round is written twice', async () => {
    const clock = new ManualClock(START)
    await rounds(newWriter(clock).writer, clock, 4)
    const { writer, counted } = newWriter(clock)
    writer.take(clock.now() - 10_000, values(99))
    writer.take(clock.now(), values(4))
    clock.advance(10_000)
    writer.take(clock.now(), values(5))
    clock.advance(10_000)
    await writer.flush()
    // The round that was there already stays as it was.
    expect((await read(clock, '10s'))[0]?.points.map(({ value }) => value)).toEqual([0, 1, 2, 3, 4, 5])
    expect((await read(clock, '1m'))[0]?.points).toEqual([{ atMs: START, value: 2.5, low: 0, high: 5 }])
    await newWriter(clock).writer.flush()
    expect((await read(clock, '1m'))[0]?.points).toHaveLength(1)
    expect(counted('helixflow_history_failures_total')).toBe(0)
  })

  test('is kept in memory while the database is away, and complete once it is back', async () => {
    const clock = new ManualClock(START)
    const away = openDatabase(
      { ...postgres.connection, host: `${postgres.connection.host}/nowhere` },
      { acquireTimeoutMs: 500, queryTimeoutMs: 500, log: silentLog, clock: systemClock },
    )
    const options = { retention: RETENTION, clock, log: silentLog }
    const metrics = new MetricRegistry()
    let serving = away
    const writer = new HistoryWriter({
      ...options,
      metrics,
      // Whichever answers at the moment.
      get database() {
        return serving
      },
    })
    for (let round = 0; round < 9; round++) {
      writer.take(clock.now(), values(round))
      clock.advance(10_000)
      if (round % 4 === 0) {
        await expect(writer.flush()).rejects.toMatchObject({ code: 'storage_unavailable' })
      }
    }
    serving = database
    await writer.flush()
    await away.close()
    expect((await read(clock, '10s'))[0]?.points).toHaveLength(9)
    expect((await read(clock, '1m'))[0]?.points).toEqual([{ atMs: START, value: 2.5, low: 0, high: 5 }])
    expect(
      [...metrics.samples()].find(({ name }) => name === 'helixflow_history_failures_total')?.value,
    ).toBe(3)
  })

  test('keeps an hour of rounds in memory and no more', async () => {
    const clock = new ManualClock(START)
    const { writer } = newWriter(clock)
    for (let round = 0; round < 400; round++) writer.take(START + round * 10_000, values(round))
    clock.advance(400 * 10_000)
    await writer.flush()
    const points = (await read(clock, '10s'))[0]?.points ?? []
    expect(points).toHaveLength(360)
    expect(points[0]?.value).toBe(40)
  })

  test('forgets what is older than its resolution is kept, and series that nobody tells of', async () => {
    const clock = new ManualClock(START)
    await rounds(newWriter(clock).writer, clock, 7)
    clock.advance(2 * HOUR)
    // Hours and minutes are made of what is there before it goes.
    const { writer } = newWriter(clock)
    writer.take(clock.now(), [{ figure: 'in-flight', labels: {}, value: 1 }])
    await writer.flush()
    expect(await read(clock, '10s')).toEqual([])
    expect((await read(clock, '1m'))[0]?.points).toHaveLength(2)
    expect((await read(clock, '1h'))[0]?.points).toHaveLength(1)
    clock.advance(31 * DAY)
    await newWriter(clock).writer.flush()
    expect(await database.query('select figure from history_series')).toEqual([])
  })

  test('refuses a figure that there is none of, and a span that ends before it begins', async () => {
    const clock = new ManualClock(START)
    const asked = { database, retention: RETENTION, clock }
    await expect(readFigures(asked, { figures: ['nothing'], fromMs: 0, toMs: 1 })).rejects.toMatchObject({
      code: 'invalid_value',
    })
    await expect(readFigures(asked, { fromMs: 1, toMs: 1 })).rejects.toMatchObject({ code: 'invalid_value' })
  })
})
