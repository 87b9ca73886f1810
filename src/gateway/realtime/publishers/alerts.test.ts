import { expect, test } from 'vitest'
import type { Identity } from '../../../contracts/auth.ts'
import type { PoolClient } from '../../../contracts/pool.ts'
import { ManualClock } from '../../../core/clock.ts'
import { HelixError } from '../../../core/errors.ts'
import { Drain } from '../../drain.ts'
import { alertsPublisher } from './alerts.ts'

test('each thing that fails is told once when it begins and once when it is over', async () => {
  const clock = new ManualClock()
  const away = new HelixError('storage_unavailable', 'The database is away.')
  const full = new HelixError('disk_full', 'No room.')
  let [database, usage]: (HelixError | undefined)[] = [undefined, undefined]
  const pool = { unavailability: async () => undefined } as Partial<PoolClient> as PoolClient
  const readiness = { drain: new Drain(), database: async () => database, usage: () => usage, pool }
  const told: string[] = []
  const about = { identity: {} as Identity, topic: 'alerts' }
  const stop = alertsPublisher(readiness, clock).start(about, (data) => {
    const { state, code } = JSON.parse(data) as { state: string; code: string }
    told.push(`${state} ${code}`)
  })
  const look = async () => {
    clock.advance(3_000)
    await new Promise((resolve) => setImmediate(resolve))
    return told.splice(0)
  }
  expect(await look()).toEqual([])
  database = away
  expect(await look()).toEqual(['firing storage_unavailable'])
  usage = full
  expect(await look()).toEqual(['firing disk_full'])
  expect(await look()).toEqual([])
  database = undefined
  expect(await look()).toEqual(['resolved storage_unavailable'])
  stop()
  usage = undefined
  expect(await look()).toEqual([])
})
