import { expect, test } from 'vitest'
import { ManualClock } from '../core/clock.ts'
import { PermitQueue } from './permit-queue.ts'

function queueOf(permits: number, clock = new ManualClock(), waitingMax = 10): PermitQueue {
  return new PermitQueue({ permits, waitingMax, timeoutMs: 50, clock })
}

test('permits go to those who ask, then in the order of asking to those who wait', async () => {
  const queue = queueOf(2)
  const releaseFirst = await queue.acquire()
  const releaseSecond = await queue.acquire()
  const order: string[] = []
  const third = queue.acquire().then(() => order.push('third'))
  const fourth = queue.acquire().then(() => order.push('fourth'))
  releaseSecond()
  await third
  expect(order).toEqual(['third'])
  releaseFirst()
  await fourth
  expect(order).toEqual(['third', 'fourth'])
})

test('a wait ends after the limit, and its place is not given a permit afterwards', async () => {
  const clock = new ManualClock()
  const queue = queueOf(1, clock)
  const release = await queue.acquire()
  const late = queue.acquire()
  clock.advance(49)
  const later = queue.acquire()
  clock.advance(1)
  await expect(late).rejects.toMatchObject({ code: 'storage_unavailable', retryable: true })
  release()
  await expect(later).resolves.toBeTypeOf('function')
})

test('a permit given back twice counts once', async () => {
  const clock = new ManualClock()
  const queue = queueOf(1, clock)
  const release = await queue.acquire()
  release()
  release()
  await queue.acquire()
  const refused = queue.acquire()
  clock.advance(50)
  await expect(refused).rejects.toMatchObject({ code: 'storage_unavailable' })
})

test('who would wait behind too many is refused at once, and nobody loses a place by it', async () => {
  const queue = queueOf(1, new ManualClock(), 2)
  const release = await queue.acquire()
  const order: string[] = []
  const first = queue.acquire().then((next) => {
    order.push('first')
    next()
  })
  const second = queue.acquire().then(() => order.push('second'))
  await expect(queue.acquire()).rejects.toMatchObject({ code: 'storage_unavailable', retryable: true })
  release()
  await Promise.all([first, second])
  expect(order).toEqual(['first', 'second'])
})

test('a permit is taken without waiting only while one is free', async () => {
  const queue = queueOf(1)
  const release = queue.tryAcquire()
  expect(queue.tryAcquire()).toBeUndefined()
  release?.()
  expect(queue.tryAcquire()).toBeTypeOf('function')
})
