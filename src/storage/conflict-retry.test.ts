import { expect, test } from 'vitest'
import type { Clock } from '../core/clock.ts'
import { seededRandom } from '../core/random.ts'
import { type Attempt, ConflictRetry } from './conflict-retry.ts'

/** A clock on which every wait is over at once, and which remembers how long each one was to be. */
class HastyClock implements Clock {
  readonly waitsMs: number[] = []
  now = () => 0
  monotonic = () => 0

  schedule(delayMs: number, task: () => void): () => void {
    this.waitsMs.push(delayMs)
    queueMicrotask(task)
    return () => {}
  }
}

const lost = { done: false, reason: new Error('could not serialize access') } as const

test('what loses is tried again until it wins', async () => {
  const outcomes: Attempt<string>[] = [lost, lost, { done: true, result: 'won' }]
  const clock = new HastyClock()
  const attempt = async () => outcomes.shift() ?? lost
  await expect(new ConflictRetry(clock, seededRandom(1)).run('optimistic', attempt)).resolves.toBe('won')
  expect(clock.waitsMs).toHaveLength(2)
})

test('after five retries it is given up as something to try later', async () => {
  let attempts = 0
  const clock = new HastyClock()
  const attempt = async () => {
    attempts += 1
    return lost
  }
  await expect(new ConflictRetry(clock, seededRandom(1)).run('optimistic', attempt)).rejects.toMatchObject({
    code: 'storage_unavailable',
    retryable: true,
    cause: lost.reason,
  })
  expect(attempts).toBe(6)
})

test('the waits are random below a bound that grows', async () => {
  const bounds = async (uniform: number) => {
    const clock = new HastyClock()
    const retry = new ConflictRetry(clock, { uniform: () => uniform })
    await retry.run('locking', async () => lost).catch(() => {})
    return clock.waitsMs
  }
  expect(await bounds(0)).toEqual([0, 0, 0, 0, 0])
  const longest = await bounds(0.999)
  expect(longest).toEqual([...longest].sort((a, b) => a - b))
  expect(new Set(longest).size).toBe(5)
})

test('another failure is not tried again', async () => {
  let attempts = 0
  const failing = new ConflictRetry(new HastyClock(), seededRandom(1)).run('locking', async () => {
    attempts += 1
    throw new RangeError('no conflict')
  })
  await expect(failing).rejects.toThrow('no conflict')
  expect(attempts).toBe(1)
})
