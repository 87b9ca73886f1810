import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { ManualClock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import { MemoryStore } from './memory-store.ts'
import { type Shaped, Shaper } from './shaper.ts'
import type { Charge, Reservation, Verdict } from './store.ts'

/** Ten per second, one at a time. */
const RULE: Charge = { key: 'k', kind: 'token-bucket', limit: 10, windowMs: 1_000, burst: 1, cost: 1 }

function setUp() {
  const clock = new ManualClock(1_000_000)
  const store = new MemoryStore(clock)
  const shaper = new Shaper(clock)
  const granted: string[] = []
  const refused: string[] = []
  const left: string[] = []
  let requests = 0
  const send = (project: string, maxWaitMs = 10_000, signal = new AbortController().signal) => {
    const name = `${project}${++requests}`
    const reservation: Reservation = { tenant: 'org', requestId: name, charges: [RULE], held: true }
    const waitMs = shaper.waitOf('org/k')
    const first =
      waitMs === undefined
        ? store.reserve(reservation)
        : { refused: 0, waitMs, standings: [], unseeded: [], gathered: false }
    if (first.refused === undefined) {
      granted.push(name)
      return
    }
    shaper
      .wait(
        {
          key: 'org/k',
          project,
          maxWaitMs,
          attempt: () => store.reserve(reservation),
          concerns: () => true,
          undo: () => store.settle(reservation, [0]),
          signal,
        },
        first,
      )
      .then(
        (verdict) => (verdict.refused === undefined ? granted : refused).push(name),
        () => left.push(name),
      )
  }
  /** Lets what is due happen, step by step, with what follows from it. */
  const pass = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 10) {
      clock.advance(10)
      for (let turn = 0; turn < 10; turn++) await Promise.resolve()
    }
  }
  return { send, pass, granted, refused, left, store }
}

describe('requests that wait for a limit', () => {
  test('are granted one by one, the oldest first', async () => {
    const { send, pass, granted } = setUp()
    for (let sent = 0; sent < 5; sent++) send('a')
    expect(granted).toEqual(['a1'])
    await pass(220)
    expect(granted).toEqual(['a1', 'a2', 'a3'])
    await pass(300)
    expect(granted).toEqual(['a1', 'a2', 'a3', 'a4', 'a5'])
  })

  test('of several projects take turns, however many one of them has', async () => {
    const { send, pass, granted } = setUp()
    for (let sent = 0; sent < 20; sent++) send('a')
    for (let sent = 0; sent < 3; sent++) send('b')
    await pass(750)
    expect(granted.filter((name) => name.startsWith('b'))).toHaveLength(3)
    expect(granted.filter((name) => name.startsWith('a')).length).toBeLessThanOrEqual(5)
  })

  test('nobody who comes later is before those who wait', async () => {
    const { send, pass, granted } = setUp()
    for (let sent = 0; sent < 3; sent++) send('a')
    await pass(95)
    send('a')
    await pass(500)
    expect(granted).toEqual(['a1', 'a2', 'a3', 'a4'])
  })

  test('are refused when their time is up, also far back in the line', async () => {
    const { send, pass, granted, refused } = setUp()
    for (let sent = 0; sent < 50; sent++) send('a', 500)
    await pass(510)
    expect(granted.length).toBeGreaterThanOrEqual(5)
    expect(granted.length + refused.length).toBe(50)
  })

  test('leave their place and take nothing when their client leaves', async () => {
    const { send, pass, granted, left, store } = setUp()
    const gone = new AbortController()
    send('a')
    send('a', 10_000, gone.signal)
    send('a')
    gone.abort(new HelixError('client_closed_request', 'The client left.'))
    await pass(210)
    expect([granted, left]).toEqual([['a1', 'a3'], ['a2']])
    await pass(1_000)
    expect(store.peek('org', [RULE])[0]?.remaining).toBe(1)
  })
})

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
