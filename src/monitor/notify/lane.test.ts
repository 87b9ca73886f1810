import { describe, expect, test } from 'vitest'
import { notificationOf } from '../../../test/support/notifications.ts'
import { ManualClock } from '../../core/clock.ts'
import { type Random, seededRandom } from '../../core/random.ts'
import type { Delivery } from './delivery.ts'
import { GIVE_UP_AFTER_MS, HELD_MAX, Lane } from './lane.ts'
import type { ReceiverAnswer } from './receiver-answer.ts'

const DELIVERED: ReceiverAnswer = { kind: 'delivered' }
const LATER: ReceiverAnswer = { kind: 'later', reason: 'it answered 503' }
const START_MS = 1_000_000

function laneWith(answer: (delivery: Delivery) => ReceiverAnswer | Promise<ReceiverAnswer>, random?: Random) {
  const clock = new ManualClock(START_MS)
  const told: { id: string; atMs: number }[] = []
  const ended: string[] = []
  const lane = new Lane({
    clock,
    random: random ?? seededRandom(1),
    tell: async (delivery) => {
      told.push({ id: delivery.notification.id, atMs: clock.now() })
      return answer(delivery)
    },
    ended: ({ notification }, outcome) => ended.push(`${notification.id} ${outcome}`),
    postponed: () => {},
  })
  /** Moves time in small steps, with what follows of each. */
  const pass = async (ms: number, steps = 100) => {
    for (let step = 0; step < steps; step++) {
      clock.advance(ms / steps)
      await settle()
    }
  }
  return { clock, lane, told, ended, pass }
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await Promise.resolve()
}

function deliveryOf(id: string, group = 'a', atMs = START_MS): Delivery {
  const key = { key: group, alert: group, severity: 'warning' } as const
  const notification = notificationOf(atMs, 'firing', { id, group: key })
  return { receiver: 'r', notification, attempts: 0, notBeforeMs: Number.NEGATIVE_INFINITY }
}

describe('a lane', () => {
  test('keeps the order of a group however attempts fail, and lets no group wait for another', async () => {
    for (let seed = 1; seed <= 50; seed++) {
      const random = seededRandom(seed)
      const { lane, ended, pass } = laneWith(() => (random.uniform() < 0.6 ? LATER : DELIVERED), random)
      const all = Array.from({ length: 20 }, (_, at) => deliveryOf(`${at}`, 'abc'[at % 3], START_MS + at))
      lane.add(all)
      await pass(3_600_000, 2_000)
      const delivered = ended.map((text) => Number(text.split(' ')[0]))
      expect(delivered).toHaveLength(20)
      for (const rest of [0, 1, 2]) {
        const ofGroup = delivered.filter((number) => number % 3 === rest)
        expect(ofGroup).toEqual(ofGroup.toSorted((one, other) => one - other))
      }
    }
  })

  test('tells the second group while the first is tried again', async () => {
    const { lane, ended, pass } = laneWith(({ notification }) =>
      notification.id === 'bad' ? LATER : DELIVERED,
    )
    lane.add([deliveryOf('bad', 'a'), deliveryOf('good', 'b')])
    await pass(10)
    expect(ended).toEqual(['good delivered'])
  })

  test('waits longer after each failure, and gives up after a day', async () => {
    const { lane, told, ended, pass } = laneWith(() => LATER)
    lane.add([deliveryOf('one')])
    await pass(GIVE_UP_AFTER_MS + 600_000, 20_000)
    const gaps = told.slice(1).map(({ atMs }, at) => atMs - (told[at]?.atMs ?? 0))
    expect(gaps[0]).toBeLessThan(6_000)
    expect(Math.max(...gaps)).toBeGreaterThan(149_000)
    expect(Math.max(...gaps)).toBeLessThan(310_000)
    expect(ended).toEqual(['one expired'])
  })

  test('leaves a receiver alone for as long as it asks, with everything', async () => {
    let calls = 0
    const { lane, told, pass } = laneWith(() =>
      calls++ === 0 ? { kind: 'later', reason: 'it answered 429', afterMs: 60_000 } : DELIVERED,
    )
    lane.add([deliveryOf('one', 'a'), deliveryOf('two', 'b')])
    await pass(59_000)
    expect(told).toHaveLength(1)
    await pass(2_000)
    expect(told.map(({ id }) => id).sort()).toEqual(['one', 'one', 'two'])
  })

  test('says nothing any more that a later word about the group has overtaken', async () => {
    const { lane, told, ended, pass } = laneWith(() => DELIVERED)
    lane.add([deliveryOf('resolved', 'a', START_MS)])
    await pass(10)
    lane.add([deliveryOf('firing', 'a', START_MS - 1_000)])
    await pass(10)
    expect(told.map(({ id }) => id)).toEqual(['resolved'])
    expect(ended).toEqual(['resolved delivered', 'firing superseded'])
  })

  test('one that is refused lets the next of its group go', async () => {
    const { lane, ended, pass } = laneWith(({ notification }) =>
      notification.id === 'one' ? { kind: 'refused', reason: 'it answered 400' } : DELIVERED,
    )
    lane.add([deliveryOf('one'), deliveryOf('two', 'a', START_MS + 1)])
    await pass(10)
    expect(ended).toEqual(['one refused', 'two delivered'])
  })

  test('has one attempt at a time, and gives up one that takes too long', async () => {
    let signals = 0
    const clock = new ManualClock(START_MS)
    const lane = new Lane({
      clock,
      random: seededRandom(1),
      tell: (_delivery, signal) => {
        signals++
        return new Promise((resolve) => signal.addEventListener('abort', () => resolve(LATER)))
      },
      ended: () => {},
      postponed: () => {},
    })
    lane.add([deliveryOf('one', 'a'), deliveryOf('two', 'b')])
    await settle()
    expect(signals).toBe(1)
    clock.advance(10_000)
    await settle()
    expect(signals).toBe(2)
  })

  test('holds so many and drops the oldest, but not the one under way', async () => {
    const { lane, ended } = laneWith(() => new Promise(() => {}))
    lane.add([deliveryOf('under way', 'a', 0)])
    lane.add(Array.from({ length: HELD_MAX + 1 }, (_, at) => deliveryOf(`${at}`, `g${at}`, START_MS + at)))
    expect(lane.size).toBe(HELD_MAX)
    expect(ended).toEqual(['0 dropped', '1 dropped'])
  })
})
