import { expect, test } from 'vitest'
import { seededRandom } from '../core/random.ts'
import { Timeline } from './timeline.ts'

test('things happen by their time, and those of one instant in the order they were scheduled', () => {
  const timeline = new Timeline(0)
  const random = seededRandom(3)
  const planned = Array.from({ length: 2_000 }, (_, order) => ({
    dueMs: Math.floor(random.uniform() * 50),
    order,
  }))
  const happened: typeof planned = []
  for (const one of planned) timeline.schedule(one.dueMs, () => happened.push(one))
  while (timeline.step()) expect(timeline.monotonic()).toBe(happened.at(-1)?.dueMs)
  expect(happened).toEqual([...planned].sort((a, b) => a.dueMs - b.dueMs || a.order - b.order))
})

test('what was cancelled does not happen, and time does not stop for it', () => {
  const timeline = new Timeline(1_000)
  const happened: string[] = []
  const cancel = timeline.schedule(5, () => happened.push('cancelled'))
  timeline.schedule(9, () => happened.push('kept'))
  cancel()
  expect(timeline.step()).toBe(true)
  expect([happened, timeline.monotonic(), timeline.now()]).toEqual([['kept'], 9, 1_009])
  expect(timeline.step()).toBe(false)
})
