import { beforeEach, describe, expect, test } from 'vitest'
import type { Replica } from '../../contracts/pool.ts'
import { ManualClock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import { noMetrics } from '../../core/metrics.ts'
import type { RelayResult } from './relay.ts'
import { UpstreamHealth } from './upstream-health.ts'

function replica(id: string, own: Partial<Replica> = {}): Replica {
  return {
    id,
    model: 'm',
    engineModel: 'm',
    engine: 'upstream',
    address: { url: 'http://x', socketPath: undefined, apiKey: undefined },
    slots: 4,
    contextLength: undefined,
    supportsTools: undefined,
    continues: false,
    vocabularySize: undefined,
    revision: id,
    ...own,
  }
}

const denied = (status: number, retryAfter?: string): RelayResult => ({
  ...{ kind: 'denied', status, retryAfter, body: Buffer.alloc(0) },
})
const silence: RelayResult = { kind: 'unanswered', refused: true, cause: 'ECONNREFUSED' }
const timeout: RelayResult = {
  kind: 'broken',
  error: new HelixError('upstream_timeout', 'It did not answer.'),
}
const complete: RelayResult = { kind: 'complete', usage: undefined, body: Buffer.alloc(0) }

const [one, two] = [replica('one'), replica('two')]
let clock: ManualClock
let health: UpstreamHealth

beforeEach(() => {
  clock = new ManualClock()
  health = new UpstreamHealth(clock, noMetrics)
  health.replace([one, two])
})

function fail(which: Replica, result: RelayResult, times = 3): void {
  for (let i = 0; i < times; i++) {
    health.began(which)
    health.ended(which, result)
  }
}

describe('a server that fails', () => {
  test('is left alone while another one works, and asked again after its pause', () => {
    fail(one, denied(500))
    expect([health.usable(one), health.usable(two)]).toEqual([false, true])
    clock.advance(1_000)
    expect(health.usable(one)).toBe(true)
    health.began(one)
    expect(health.usable(one), 'one request finds out for all').toBe(false)
    health.ended(one, complete)
    expect(health.usable(one)).toBe(true)
  })

  test('with 429 is left alone for as long as it says', () => {
    fail(one, denied(429, '7'), 1)
    clock.advance(6_999)
    expect(health.usable(one)).toBe(false)
    clock.advance(1)
    expect(health.usable(one)).toBe(true)
  })

  test('because the request is wrong has not failed', () => {
    fail(one, denied(400), 20)
    expect(health.usable(one)).toBe(true)
  })
})

describe('when all servers of a model fail', () => {
  test('those that fail at once are asked all the same, and those that let callers wait are not', () => {
    fail(one, denied(500))
    fail(two, timeout)
    expect([health.usable(one), health.usable(two)]).toEqual([true, false])
    expect(health.shut('m')).toBeUndefined()
  })

  test('and all let callers wait, requests are refused at once until one may be tried again', () => {
    fail(one, timeout)
    fail(two, timeout)
    expect(health.shut('m')?.code).toBe('upstream_unavailable')
    clock.advance(1_000)
    expect(health.shut('m')).toBeUndefined()
  })

  test('an engine of our own for the same model is always asked', () => {
    health.replace([one, replica('local', { engine: 'llama-server' })])
    fail(one, timeout)
    expect(health.shut('m')).toBeUndefined()
  })
})

describe('trying another server', () => {
  const tried = new Set(['one'])

  test('happens only for what another could do better, while nothing of an answer was sent', () => {
    expect(health.mayTryAnother('m', tried, denied(503))).toBe(true)
    expect(health.mayTryAnother('m', tried, silence)).toBe(true)
    expect(health.mayTryAnother('m', tried, denied(400))).toBe(false)
    expect(health.mayTryAnother('m', new Set(['one', 'two']), silence)).toBe(false)
    expect(health.mayTryAnother('m', tried, { kind: 'aborted' })).toBe(false)
  })

  test('stops when too much of it is done, so that an outage is not multiplied', () => {
    let granted = 0
    for (let i = 0; i < 500; i++) {
      health.requested()
      if (health.mayTryAnother('m', tried, silence)) granted++
    }
    expect(granted).toBeLessThanOrEqual(20 + 100)
    expect(granted).toBeGreaterThanOrEqual(100)
  })
})
