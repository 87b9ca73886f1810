import { expect, test } from 'vitest'
import { backlogOf, TopicFeed, type TopicState } from './topic-feed.ts'
import type { TopicEvent } from './topics.ts'

const settle = () => new Promise((resolve) => setImmediate(resolve))
const event = (seq: number, epoch = 'e'): TopicEvent => ({ topic: 't', epoch, seq, data: String(seq) })
const state = (first: number, seq: number, change: Partial<TopicState> = {}): TopicState => ({
  epoch: 'e',
  seq,
  kind: 'log',
  events: Array.from({ length: seq - first + 1 }, (_, place) => event(first + place, change.epoch)),
  ...change,
})

function followed() {
  const feed = new TopicFeed()
  const heard: (number | string)[] = []
  const end = feed.join({ event: ({ seq }) => heard.push(seq), gap: (reason) => heard.push(reason) }, [])
  return { feed, heard, end }
}

test('what was missed is given whole or not at all', () => {
  const given = (seq: number, epoch = 'e') => {
    const { events, reason } = backlogOf(state(5, 9), { epoch, seq })
    return [events.map((one) => one.seq), reason]
  }
  expect(given(4)).toEqual([[5, 6, 7, 8, 9], undefined])
  expect(given(3)).toEqual([[], 'gap'])
  expect(given(9)).toEqual([[], undefined])
  expect(given(10)).toEqual([[], 'gap'])
  expect(given(7, 'x')).toEqual([[], 'epoch'])
})

test('nothing is given before whoever follows can have said so, and nothing is lost by that', async () => {
  const { feed, heard, end } = followed()
  feed.catchUp(state(1, 0))
  feed.deliver(event(1))
  feed.deliver(event(2))
  expect(heard).toEqual([])
  await settle()
  feed.deliver(event(3))
  expect(heard).toEqual([1, 2, 3])
  end()
  feed.deliver(event(4))
  expect([heard, feed.size]).toEqual([[1, 2, 3], 0])
})

test('a hole is filled from what is kept, or said', async () => {
  const { feed, heard } = followed()
  await settle()
  feed.catchUp(state(1, 0))
  feed.deliver(event(1))
  feed.catchUp(state(1, 4))
  feed.catchUp(state(7, 9))
  expect(heard).toEqual([1, 2, 3, 4, 'gap', 7, 8, 9])
  // An answer that something newer overtook.
  feed.deliver(event(10))
  feed.catchUp(state(7, 9))
  expect([heard.at(-1), feed.seq]).toEqual([10, 10])
})

test('of a topic of which the newest counts a hole is none', async () => {
  const { feed, heard } = followed()
  await settle()
  feed.catchUp(state(1, 0))
  feed.catchUp(state(9, 9, { kind: 'latest' }))
  expect(heard).toEqual([9])
})

test('another life is said, and heard from its beginning', async () => {
  const { feed, heard } = followed()
  await settle()
  feed.catchUp(state(1, 5))
  feed.catchUp(state(1, 2, { epoch: 'f' }))
  expect([heard, feed.epoch, feed.seq]).toEqual([['epoch', 1, 2], 'f', 2])
})
