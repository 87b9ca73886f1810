import { describe, expect, test } from 'vitest'
import { EventRing } from './event-ring.ts'

function ring(eventsMax: number, bytesMax = Number.POSITIVE_INFINITY) {
  return new EventRing({ eventsMax, bytesMax })
}

function fill(into: EventRing, from: number, to: number, data = '') {
  for (let seq = from; seq <= to; seq++) into.push({ seq, kind: 'delta', data })
}

describe('a ring of events', () => {
  test('is empty before the first', () => {
    const empty = ring(3)
    expect([empty.first, empty.last, empty.at(1), empty.sizeBytes]).toEqual([1, 0, undefined, 0])
  })

  test('keeps the newest by number, and gives none that is gone or to come', () => {
    const full = ring(3)
    fill(full, 1, 5)
    expect([full.first, full.last]).toEqual([3, 5])
    expect([2, 3, 5, 6].map((seq) => full.at(seq)?.seq)).toEqual([undefined, 3, 5, undefined])
  })

  test('keeps no more bytes than it may, but always the newest', () => {
    const full = ring(1_000, 1_000)
    fill(full, 1, 50, 'x'.repeat(100))
    expect([full.first, full.sizeBytes]).toEqual([48, 3 * 264])
    fill(full, 51, 51, 'x'.repeat(10_000))
    expect([full.first, full.last, full.at(51)?.data.length]).toEqual([51, 51, 10_000])
    fill(full, 52, 53)
    expect([full.first, full.sizeBytes]).toEqual([52, 128])
  })

  test('finds every kept event however many went before', () => {
    const long = ring(100)
    for (let seq = 1; seq <= 10_000; seq++) {
      fill(long, seq, seq)
      expect(long.at(seq)?.seq).toBe(seq)
      expect(long.at(long.first)?.seq).toBe(Math.max(1, seq - 99))
    }
  })

  test('may begin anywhere', () => {
    const late = ring(10)
    fill(late, 500, 505)
    expect([late.first, late.last, late.at(502)?.seq, late.at(499)]).toEqual([500, 505, 502, undefined])
  })
})
