import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { silentLog } from '../../../src/core/log.ts'
import { noMetrics } from '../../../src/core/metrics.ts'
import { Leadership } from '../../../src/pool/leader.ts'
import type { EmbeddedPostgres } from '../../../src/storage/embedded-postgres.ts'
import { LeaderSeat } from '../../../src/storage/leader-seat.ts'
import { migrate } from '../../../src/storage/migrate.ts'
import { systemClock } from '../../../src/system.ts'
import { DatabasePlace } from '../storage/database-place.ts'

let place: DatabasePlace
let postgres: EmbeddedPostgres
const open: { stop(): Promise<void> }[] = []

beforeAll(async () => {
  place = await DatabasePlace.withDatabase()
  postgres = await place.start()
  await migrate({ connection: postgres.connection, log: silentLog, clock: systemClock })
})
afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.stop()))
})
afterAll(async () => {
  await postgres?.stop()
  await place?.remove()
})

/** A pool that does nothing but lead; `acts` says whether it does at the moment. */
function contend(url: string) {
  const seen = { epochs: [] as number[], acts: false }
  const lead = async (epoch: number, over: AbortSignal) => {
    seen.epochs.push(epoch)
    seen.acts = true
    await new Promise<void>((resolve) => over.addEventListener('abort', () => resolve(), { once: true }))
    seen.acts = false
  }
  const { connection } = postgres
  const leadership = new Leadership({
    connection,
    url,
    lead,
    clock: systemClock,
    log: silentLog,
    metrics: noMetrics,
  })
  open.push(leadership)
  return { seen, leadership }
}

async function administer(sql: string): Promise<void> {
  const client = new pg.Client({ ...postgres.connection, port: 5432, ssl: false })
  await client.connect()
  await client.query(sql)
  await client.end()
}

const seat = () =>
  LeaderSeat.open({ connection: postgres.connection, url: 'https://x', clock: systemClock, log: silentLog })

describe('of several pools', () => {
  test('one leads, and the others know which', async () => {
    const first = contend('https://one')
    await expect.poll(() => first.seen.acts).toBe(true)
    const second = contend('https://two')
    await expect.poll(() => second.leadership.view().url).toBe('https://one')
    expect(first.leadership.view()).toMatchObject({ leads: true, url: 'https://one' })
    expect(second.leadership.view().leads).toBe(false)
    expect(second.seen.acts).toBe(false)
  })

  test('another one leads within five seconds when the first goes, in a later epoch', async () => {
    const first = contend('https://one')
    await expect.poll(() => first.seen.acts).toBe(true)
    const second = contend('https://two')
    await expect.poll(() => second.leadership.view().url).toBe('https://one')
    await first.leadership.stop()
    expect(first.seen.acts).toBe(false)
    await expect.poll(() => second.seen.acts, { timeout: 5_000 }).toBe(true)
    expect(second.seen.epochs[0]).toBeGreaterThan(first.seen.epochs[0] ?? Number.POSITIVE_INFINITY)
  })

  test('one whose connection is cut stops at once, and never are there two', async () => {
    const both = [contend('https://one'), contend('https://two')]
    await expect.poll(() => both.filter(({ seen }) => seen.acts)).toHaveLength(1)
    const cut = both.find(({ seen }) => seen.acts)
    await administer(
      "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = 7411030",
    )
    await expect.poll(() => cut?.seen.acts).toBe(false)
    await expect.poll(() => both.filter(({ seen }) => seen.acts), { timeout: 5_000 }).toHaveLength(1)
    const epochs = both.flatMap(({ seen }) => seen.epochs)
    expect(new Set(epochs).size).toBe(epochs.length)
  })

  test('one that cannot renew its seat gives up before another one may take it', async () => {
    const held = contend('https://one')
    await expect.poll(() => held.seen.acts).toBe(true)
    const client = new pg.Client({ ...postgres.connection, port: 5432, ssl: false })
    await client.connect()
    try {
      // From here on every renewal waits for this one.
      await client.query('begin')
      const { rows } = await client.query<{ renewed: Date }>(
        'select renewed_at as renewed from pool_leader for update',
      )
      const renewedMs = rows[0]?.renewed.getTime() ?? 0
      await expect.poll(() => held.seen.acts, { interval: 20 }).toBe(false)
      // Others wait three seconds from the same moment; somewhat for the machine, which may be busy.
      expect(Date.now() - renewedMs).toBeLessThan(3_200)
    } finally {
      await client.end()
    }
  })

  test('one that stands still is thrown off, and takes no seat that somebody else has by then', async () => {
    const frozen = await seat()
    const epoch = (await frozen.take()) ?? 0
    const other = await seat()
    expect(await other.take()).toBeUndefined()
    expect(await other.throwOff(3_000)).toBe(false)
    await administer("update pool_leader set renewed_at = now() - interval '4 seconds'")
    expect(await other.throwOff(3_000)).toBe(true)
    await frozen.lost
    let later = 0
    await expect.poll(async () => (later = (await other.take()) ?? 0)).toBeGreaterThan(epoch)
    // It has said nothing yet, and the row that others read is of this very moment.
    const third = await seat()
    expect(await third.throwOff(3_000)).toBe(false)
    expect(await third.holder()).toEqual({ url: 'https://x', epoch: later })
    expect(await other.renew(epoch)).toBe(false)
    expect(await other.renew(later)).toBe(true)
    for (const one of [frozen, other, third]) one.leave()
  })

  test('in a database made anew or restored, an epoch is no less than the minutes of the clock, and so than those that nodes know', async () => {
    for (const loss of ['delete from pool_leader', 'update pool_leader set epoch = 3']) {
      const before = await seat()
      await expect.poll(() => before.take()).toBeDefined()
      before.leave()
      await administer(loss)
      const minutes = Math.floor(Date.now() / 60_000)
      const after = await seat()
      let epoch: number | undefined
      await expect.poll(async () => (epoch = await after.take())).toBeDefined()
      expect(epoch).toBeGreaterThanOrEqual(minutes)
      after.leave()
    }
  })
})
