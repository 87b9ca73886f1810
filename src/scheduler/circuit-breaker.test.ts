import { describe, expect, test } from 'vitest'
import { seededRandom } from '../core/random.ts'
import { CIRCUIT_BREAKER, CircuitBreaker } from './circuit-breaker.ts'
import { RetryBudget } from './retry-budget.ts'

function opened(atMs = 0): CircuitBreaker {
  const breaker = new CircuitBreaker()
  for (let i = 0; i < CIRCUIT_BREAKER.failuresMin; i++) breaker.failed(atMs)
  return breaker
}

describe('a circuit breaker', () => {
  test('opens when half of what was asked failed, not for single failures among many successes', () => {
    const well = new CircuitBreaker()
    for (let i = 0; i < 40; i++) {
      if (i % 4 === 0) well.failed(i)
      else well.succeeded(i)
    }
    expect(well.state(40)).toBe('closed')
    expect(opened().state(1)).toBe('open')
    expect(opened().admits(1)).toBe(false)
  })

  test('forgets failures that are older than its window', () => {
    const breaker = new CircuitBreaker()
    breaker.failed(0)
    breaker.failed(0)
    breaker.failed(CIRCUIT_BREAKER.windowMs + 1_000)
    expect(breaker.state(CIRCUIT_BREAKER.windowMs + 1_000)).toBe('closed')
  })

  test('lets one request find out after its pause, and closes when that succeeds', () => {
    const breaker = opened()
    expect(breaker.admits(999)).toBe(false)
    expect(breaker.admits(1_000)).toBe(true)
    breaker.began(1_000)
    expect(breaker.admits(1_001)).toBe(false)
    breaker.succeeded(1_100)
    expect(breaker.state(1_100)).toBe('closed')
  })

  test('waits twice as long after each probe that fails, up to its maximum', () => {
    const breaker = opened()
    let nowMs = 0
    const pauses: number[] = []
    for (let pauseMs = 1_000, i = 0; i < 8; i++) {
      nowMs += pauseMs
      breaker.began(nowMs)
      breaker.failed(nowMs)
      pauseMs = 0
      while (!breaker.admits(nowMs + pauseMs)) pauseMs += 500
      pauses.push(pauseMs)
    }
    expect(pauses).toEqual([2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000, 30_000])
  })

  test('a probe whose client leaves makes way for another one', () => {
    const breaker = opened()
    breaker.began(1_000)
    breaker.abandoned()
    expect(breaker.admits(1_001)).toBe(true)
  })

  test('does as the server asks when that says how long it wants to be left alone', () => {
    const breaker = new CircuitBreaker()
    breaker.failed(0, 5_000)
    expect(breaker.admits(4_999)).toBe(false)
    expect(breaker.admits(5_000)).toBe(true)
  })

  test('never stays shut: from any history it admits again within its longest pause', () => {
    const random = seededRandom(7)
    const breaker = new CircuitBreaker()
    for (let nowMs = 0, i = 0; i < 5_000; i++) {
      nowMs += Math.floor(random.uniform() * 400)
      if (!breaker.admits(nowMs)) continue
      breaker.began(nowMs)
      const outcome = random.uniform()
      if (outcome < 0.3) breaker.succeeded(nowMs)
      else if (outcome < 0.9) breaker.failed(nowMs)
      else breaker.abandoned()
      expect(breaker.admits(nowMs + CIRCUIT_BREAKER.pauseMaxMs)).toBe(true)
    }
  })
})

test('a retry budget grants at most its share of the requests, and what was saved up', () => {
  const budget = new RetryBudget({ perRequest: 0.1, perSecond: 5, max: 10 })
  let granted = 0
  for (let i = 0; i < 1_000; i++) {
    budget.requested()
    if (budget.take(i * 10)) granted++
  }
  expect(granted).toBeLessThanOrEqual(10 + 100 + 50)
  expect(granted).toBeGreaterThanOrEqual(100 + 50)
})
