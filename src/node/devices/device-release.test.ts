import { describe, expect, test } from 'vitest'
import { ManualClock } from '../../core/clock.ts'
import { expectRelease } from './device-release.ts'
import type { NvidiaReading } from './nvml-device.ts'

const GIB = 2 ** 30
/** One that is there, as an engine is when its release is expected. */
const ENGINE = process.pid
const WITH = card(30, [{ pid: ENGINE, bytes: 20 * GIB }])

function card(usedGib: number, processes: NvidiaReading['processes']): NvidiaReading {
  return { id: 'GPU-a', name: 'Card', totalBytes: 80 * GIB, usedBytes: usedGib * GIB, processes }
}

/** Answers one reading after the other, the last one again and again; `readings` says how many were asked for. */
function release(...answers: (readonly NvidiaReading[] | undefined)[]) {
  const clock = new ManualClock()
  const asked = { readings: 0, kept: undefined as readonly string[] | undefined }
  const released = expectRelease({
    ...{ pid: ENGINE, deviceIds: ['GPU-a'], before: [WITH], clock },
    read: async () => answers[Math.min(asked.readings++, answers.length - 1)],
  })
  void released().then((kept) => {
    asked.kept = kept
  })
  const pass = async (ms: number) => {
    for (let passedMs = 0; passedMs < ms; passedMs += 20) {
      await new Promise(setImmediate)
      clock.advance(20)
    }
    await new Promise(setImmediate)
  }
  return { asked, pass }
}

describe('the release of an engine', () => {
  test('is awaited until its process is gone from the card and its memory is free', async () => {
    const { asked, pass } = release([WITH], [card(30, [])], [card(14, [])], [card(11, [])])
    await pass(40)
    expect(asked.kept).toBeUndefined()
    await pass(60)
    expect(asked).toEqual({ readings: 4, kept: [] })
  })

  test('is given up after five seconds, and the card named', async () => {
    const { asked, pass } = release([WITH])
    await pass(4_900)
    expect(asked.kept).toBeUndefined()
    await pass(200)
    expect(asked.kept).toEqual(['GPU-a'])
  })

  test('does not wait for a card that is lost', async () => {
    const { asked, pass } = release([{ ...WITH, lostBecause: 'gone' }])
    await pass(20)
    expect(asked.kept).toEqual([])
  })

  test('does not take a driver without an answer for a free card', async () => {
    const { asked, pass } = release(undefined, [], [card(10, [])])
    await pass(20)
    expect(asked.kept).toBeUndefined()
    await pass(60)
    expect(asked.kept).toEqual([])
  })

  test('has nothing to wait for where the process was not on a card', async () => {
    const clock = new ManualClock()
    const none = { pid: ENGINE, before: [card(30, undefined)], clock, read: async () => [WITH] }
    expect(await expectRelease({ ...none, deviceIds: ['GPU-a'] })()).toEqual([])
    expect(await expectRelease({ ...none, before: [WITH], deviceIds: ['GPU-b'] })()).toEqual([])
  })
})
