import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { ManualClock } from '../core/clock.ts'
import { MemoryStore } from './memory-store.ts'
import { type Shaped, Shaper } from './shaper.ts'
import type { Reservation, Verdict } from './store.ts'

const MINUTE_MS = 60_000
let requests = 0

/** Many tokens a minute for a tenant, and those who wait for them. */
function line(limit: number) {
  const clock = new ManualClock(1_700_000_000_000)
  const store = new MemoryStore(clock)
  const shaper = new Shaper(clock)
  const reservationOf = (cost: number): Reservation => ({
    tenant: 'org_a',
    requestId: `r${++requests}`,
    held: true,
    charges: [{ key: 'k', kind: 'fixed-window', limit, windowMs: MINUTE_MS, burst: limit, cost }],
  })
  const wait = (cost: number, change: Partial<Shaped> = {}): Promise<Verdict> => {
    const reservation = reservationOf(cost)
    const attempt = () => store.reserve(reservation)
    const shaped = {
      key: 'k',
      project: 'p',
      maxWaitMs: 2 * MINUTE_MS,
      attempt,
      concerns: () => true,
      undo: () => store.settle(reservation, [0]),
      signal: new AbortController().signal,
      ...change,
    }
    return shaper.wait(shaped, attempt())
  }
  const take = (cost: number) => {
    const reservation = reservationOf(cost)
    expect(store.reserve(reservation).refused).toBeUndefined()
    return () => store.settle(reservation, [0])
  }
  const pass = async (forMs: number) => {
    for (let step = 0; step < 10; step++) {
      clock.advance(forMs / 10)
      await turn()
    }
  }
  return { clock, shaper, wait, take, pass }
}

test('who needs less does not wait for somebody who has given up', async () => {
  const { wait, take, pass } = line(10)
  take(5)
  const large = wait(8, { maxWaitMs: 500 })
  const small = wait(1)
  await pass(600)
  expect((await large).refused).toBe(0)
  await expect(Promise.race([small, turn('waits')])).resolves.toMatchObject({ refused: undefined })
})

test('what is given back in the middle of a window reaches those who wait within a second', async () => {
  const { wait, take, pass } = line(10)
  const giveBack = take(10)
  const waiting = wait(4)
  await pass(500)
  giveBack()
  await pass(1_000)
  await expect(Promise.race([waiting, turn('waits')])).resolves.toMatchObject({ refused: undefined })
})

test('a line that everybody has left is gone', async () => {
  const { shaper, wait, take, pass } = line(10)
  take(10)
  const left = new AbortController()
  const waiting = wait(1, { signal: left.signal })
  await turn()
  expect(shaper.waitOf('k')).toBeGreaterThan(0)
  left.abort(new Error('left'))
  await expect(waiting).rejects.toThrow('left')
  await pass(10)
  expect(shaper.waitOf('k')).toBeUndefined()
})

test('a project does not lose its turn because another of its requests gives up', async () => {
  const { wait, take, pass } = line(10)
  const giveBack = take(10)
  const order: string[] = []
  const seen = (project: string) => () => void order.push(project)
  void wait(1, { project: 'a' }).then(seen('a'))
  void wait(1, { project: 'b' }).then(seen('b'))
  const impatient = wait(1, { project: 'a', maxWaitMs: 100 })
  await pass(200)
  expect((await impatient).refused).toBe(0)
  giveBack()
  await pass(1_000)
  expect(order).toEqual(['a', 'b'])
})

test('who waits is told of its own rules and not of those of whoever is asked for', async () => {
  const { wait, take, pass } = line(10)
  take(10)
  const foreign: Verdict = { refused: 3, waitMs: 700, standings: [], unseeded: [], gathered: false }
  void wait(1, { attempt: () => foreign })
  const waiting = wait(1, { maxWaitMs: 100 })
  await pass(200)
  expect(await waiting).toMatchObject({ refused: 0, waitMs: 700, standings: [{ remaining: 0 }] })
})

test('who has left before the wait takes no place in the line', async () => {
  const { shaper, wait, take } = line(10)
  take(10)
  await expect(wait(1, { signal: AbortSignal.abort(new Error('left')) })).rejects.toThrow('left')
  expect(shaper.waitOf('k')).toBeUndefined()
})
