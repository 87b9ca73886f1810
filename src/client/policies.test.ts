import { describe, expect, test } from 'vitest'
import { seededRandom } from '../core/random.ts'
import { backoffMs } from './backoff.ts'
import { verdictOf } from './closing.ts'
import { livenessStep } from './liveness.ts'
import { Pacer } from './pacer.ts'
import { placeOf } from './sequence.ts'

describe('backoff', () => {
  test('is anything up to half a second, doubled with each failure up to eight', () => {
    const highest = [0, 1, 2, 3, 4, 5, 50].map((failures) => backoffMs(failures, () => 1))
    expect(highest).toEqual([500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000])
    expect(backoffMs(4, () => 0)).toBe(0)
  })

  test('spreads many clients evenly', () => {
    const random = seededRandom(7)
    const delays = Array.from({ length: 4_000 }, () => backoffMs(2, () => random.uniform()))
    for (let quarter = 0; quarter < 4; quarter++) {
      const inside = delays.filter((ms) => ms >= quarter * 500 && ms < (quarter + 1) * 500).length
      expect(Math.abs(inside - 1_000)).toBeLessThan(120)
    }
  })
})

describe('the code of a close', () => {
  test.each([1000, 1001, 1005, 1006, 1011, 1012, 1014, 1015])('%i: come back', (code) =>
    expect(verdictOf(code, '')).toEqual({ kind: 'again' }),
  )

  test('1013: come back after a while', () => expect(verdictOf(1013, '')).toEqual({ kind: 'later' }))

  test.each([
    [1002, '', 'connection_refused'],
    [1003, '', 'connection_refused'],
    [1007, '', 'connection_refused'],
    [1008, 'api_key_expired', 'api_key_expired'],
    [1009, 'request_too_large', 'request_too_large'],
    [3000, '', 'connection_refused'],
    [4401, 'whatever', 'token_expired'],
    [4403, '', 'api_key_revoked'],
    [4408, 'no_hello', 'request_timeout'],
    [4429, '', 'connection_limit_exceeded'],
    [4999, 'Not A Code', 'connection_refused'],
  ])('%i %s is the end: %s', (code, reason, expected) => {
    expect(verdictOf(code, reason)).toMatchObject({
      kind: 'final',
      error: { code: expected, retryable: false },
    })
  })
})

describe('a silent connection', () => {
  test('is asked after the heartbeat, and dead 15 s later', () => {
    expect(livenessStep(25_000, 0, false)).toEqual({ kind: 'wait', ms: 25_000 })
    expect(livenessStep(25_000, 24_999, false)).toEqual({ kind: 'wait', ms: 1 })
    expect(livenessStep(25_000, 25_000, false)).toEqual({ kind: 'ping', ms: 15_000 })
    expect(livenessStep(25_000, 39_999, true)).toEqual({ kind: 'wait', ms: 1 })
    expect(livenessStep(25_000, 40_000, true)).toEqual({ kind: 'dead' })
  })
})

test('no interval sees more messages than its rate and one burst', () => {
  const random = seededRandom(3)
  const pacer = new Pacer(40, 80, 0)
  const sent: number[] = []
  for (let nowMs = 0; nowMs < 20_000; nowMs += 1 + Math.floor(random.uniform() * 8)) {
    if (pacer.take(nowMs)) sent.push(nowMs)
  }
  for (const from of sent) {
    const within = sent.filter((ms) => ms >= from && ms < from + 1_000).length
    expect(within).toBeLessThanOrEqual(80 + 40)
  }
  expect(sent.length).toBeGreaterThan(80 + 40 * 19)
})

test('a pacer that refuses says when it will not', () => {
  const pacer = new Pacer(40, 1, 0)
  expect(pacer.take(0)).toBe(true)
  expect(pacer.take(0)).toBe(false)
  expect(pacer.take(pacer.waitMs - 1)).toBe(false)
  expect(pacer.take(25)).toBe(true)
})

test.each([
  [0, { seq: 1 }, 'next'],
  [5, { seq: 6 }, 'next'],
  [5, { seq: 6, seq_to: 9 }, 'next'],
  [5, { seq: 5 }, 'repeated'],
  [5, { seq: 2, seq_to: 5 }, 'repeated'],
  [5, { seq: 7 }, 'gap'],
  [5, { seq: 4, seq_to: 8 }, 'gap'],
  [0, { seq: 0 }, 'repeated'],
] as const)('after %i comes %o: %s', (last, event, place) => expect(placeOf(last, event)).toBe(place))
