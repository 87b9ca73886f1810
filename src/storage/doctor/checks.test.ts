import { describe, expect, test } from 'vitest'
import { ageOutcomes } from './activity-checks.ts'
import { bytesText, secondsText } from './check.ts'

describe('the age of the oldest transaction number', () => {
  test.each([
    [0, []],
    [200_000_000, []],
    [399_999_999, []],
    [400_000_000, ['advice']],
    [999_999_999, ['advice']],
    [1_000_000_000, ['problem']],
    [2_100_000_000, ['problem']],
  ])('%d is judged as %j', (age, levels) => {
    expect(ageOutcomes(age).map(({ level }) => level)).toEqual(levels)
  })
})

test.each([
  [0, '0 B'],
  [1_023, '1023 B'],
  [1_024, '1 KiB'],
  [268_435_456, '256 MiB'],
  [1_610_612_736, '1.5 GiB'],
  [54_000_000_000, '50.3 GiB'],
  [2 ** 53, '8192 TiB'],
])('%d bytes are written as %s', (bytes, text) => {
  expect(bytesText(bytes)).toBe(text)
})

test.each([
  [0.4, '0 s'],
  [119, '119 s'],
  [300, '5 min'],
  [7_200, '2 h'],
  [259_200, '3 days'],
])('%d seconds are written as %s', (seconds, text) => {
  expect(secondsText(seconds)).toBe(text)
})
