import { expect, test } from 'vitest'
import { ManualClock } from '../core/clock.ts'
import { PermitQueue } from './permit-queue.ts'

test('permits go to those who ask, then in the order of asking to those who wait', async () => {
  const queue = new PermitQueue(2, 50, new ManualClock())
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
  const queue = new PermitQueue(1, 50, clock)
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
  const queue = new PermitQueue(1, 50, clock)
  const release = await queue.acquire()
  release()
  release()
  await queue.acquire()
  const refused = queue.acquire()
  clock.advance(50)
  await expect(refused).rejects.toMatchObject({ code: 'storage_unavailable' })
})
