import { describe, expect, test } from 'vitest'
import { ManualClock } from '../core/clock.ts'
import { HelixError } from '../core/errors.ts'
import { MemoryStore } from './memory-store.ts'
import { Shaper } from './shaper.ts'
import type { Charge, Reservation } from './store.ts'

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
    const first = shaper.refusalOf('org/k') ?? store.reserve(reservation)
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
