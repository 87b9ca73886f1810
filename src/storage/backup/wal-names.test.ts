import { describe, expect, test } from 'vitest'
import { parseHistory, parseLsn, parseSegmentName, segmentBefore, segmentName } from './wal-names.ts'

const MIB = 2 ** 20

describe('names of log files', () => {
  test.each([
    ['000000010000000000000001', 16 * MIB, { timeline: 1, number: 1 }],
    ['0000000200000001000000FF', 16 * MIB, { timeline: 2, number: 511 }],
    ['00000001000000FF00000FFF', 1 * MIB, { timeline: 1, number: 255 * 4096 + 4095 }],
    ['0000000100000A0000000003', 1024 * MIB, { timeline: 1, number: 0xa00 * 4 + 3 }],
  ] as const)('%s is read and written', (name, segmentBytes, segment) => {
    expect(parseSegmentName(name, segmentBytes)).toEqual(segment)
    expect(segmentName(segment, segmentBytes)).toBe(name)
  })

  test.each([
    '00000002.history',
    '000000010000000000000002.partial',
    '000000010000000000000002.00000028.backup',
    '00000001000000000000000g',
    // No segment has this number, with 16 MiB each.
    '000000010000000000000100',
  ])('%s is none', (name) => expect(parseSegmentName(name, 16 * MIB)).toBeUndefined())
})

test('positions: the byte before one decides which segment is needed to get there', () => {
  expect(parseLsn('1/A000028')).toBe(0x1_0a00_0028n)
  expect(segmentBefore(parseLsn('0/3000028'), 1, 16 * MIB)).toEqual({ timeline: 1, number: 3 })
  expect(segmentBefore(parseLsn('0/3000000'), 1, 16 * MIB)).toEqual({ timeline: 1, number: 2 })
  expect(() => parseLsn('nowhere')).toThrow(/not a position/)
})

test('a history is read past its comments and empty lines', () => {
  const text =
    '1\t0/5000000\tbefore 2026-08-01 10:00:00+00\n\n# a comment\n2\t0/A000060\tno recovery target specified\n'
  expect(parseHistory(text)).toEqual([
    { timeline: 1, endLsn: 0x500_0000n },
    { timeline: 2, endLsn: 0xa00_0060n },
  ])
})
