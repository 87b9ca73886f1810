import { expect, test } from 'vitest'
import { ManualClock } from '../core/clock.ts'
import { Attendance } from './attendance.ts'

/** Lets what was asked be answered. */
const settle = () => new Promise((resolve) => setImmediate(resolve))

function attended(detachMs: number, elsewhere: () => Promise<boolean>) {
  const clock = new ManualClock()
  const abandoned: number[] = []
  const attendance = new Attendance({
    clock,
    detachMs,
    elsewhere,
    abandon: () => void abandoned.push(clock.monotonic()),
  })
  const pass = async (ms: number) => {
    for (let left = ms; left > 0; left -= 500) {
      clock.advance(Math.min(500, left))
      await settle()
    }
  }
  return { clock, attendance, abandoned, pass }
}

test('a reader elsewhere keeps a stream, and its time begins when that reader was last seen', async () => {
  let reads = true
  const { attendance, abandoned, pass } = attended(5_000, async () => reads)
  attendance.attended(true)
  attendance.attended(false)
  await pass(60_000)
  expect(abandoned).toEqual([])
  reads = false
  await pass(4_000)
  expect(abandoned).toEqual([])
  await pass(2_000)
  expect(abandoned).toHaveLength(1)
  await pass(60_000)
  expect(abandoned).toHaveLength(1)
})

test('without a time of its own it is given up as soon as nobody is seen anywhere', async () => {
  const { attendance, abandoned } = attended(0, async () => false)
  attendance.attended(true)
  attendance.attended(false)
  await settle()
  expect(abandoned).toEqual([0])
})

test('while nobody can say who reads elsewhere it goes on for a while, not for ever', async () => {
  let fails = true
  const { attendance, abandoned, pass } = attended(1_000, async () => {
    if (fails) throw new Error('away')
    return true
  })
  attendance.attended(true)
  attendance.attended(false)
  await pass(8_000)
  expect(abandoned).toEqual([])
  fails = false
  await pass(2_000)
  fails = true
  await pass(8_000)
  expect(abandoned).toEqual([])
  await pass(6_000)
  expect(abandoned).toHaveLength(1)
})

test('who comes back while it is asked keeps it', async () => {
  let answer = (_reads: boolean) => {}
  const { attendance, abandoned, pass } = attended(0, () => new Promise((resolve) => (answer = resolve)))
  attendance.attended(true)
  attendance.attended(false)
  attendance.attended(true)
  answer(false)
  await pass(5_000)
  expect(abandoned).toEqual([])
})
