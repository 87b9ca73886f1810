import { describe, expect, test } from 'vitest'
import { isOver, SteadyBytes } from './hysteresis.ts'

describe('a band', () => {
  test('is entered at its upper edge and left only below its lower one', () => {
    const band = { enter: 90, leave: 80 }
    const said: boolean[] = []
    for (const value of [89, 90, 85, 81, undefined, 80, 89])
      said.push(isOver(said.at(-1) ?? false, value, band))
    expect(said).toEqual([false, true, true, true, true, false, false])
  })
})

describe('memory of others', () => {
  test('counts at once when it was there first, grows when it lasts, shrinks at once', () => {
    const steady = new SteadyBytes(3, 10)
    expect([500, 900, 400, 900, 900, 900, 100, 0].map((bytes) => steady.next(bytes))).toEqual([
      500, 500, 400, 400, 400, 900, 100, 0,
    ])
  })

  test('does not move by less than a step', () => {
    const steady = new SteadyBytes(1, 100)
    expect([1_000, 1_050, 960, 1_101].map((bytes) => steady.next(bytes))).toEqual([
      1_000, 1_000, 1_000, 1_101,
    ])
  })

  test('does not grow while nobody can tell whose it is', () => {
    const steady = new SteadyBytes(1, 1)
    steady.next(100)
    expect([900, 900, 50].map((bytes) => steady.nextUnsure(bytes))).toEqual([100, 100, 50])
  })
})
