import { describe, expect, test } from 'vitest'
import { durationText, sizeText, table } from './output.ts'
import { progressText } from './progress.ts'

test.each([
  [undefined, '-'],
  [0, '0 B'],
  [999, '999 B'],
  [98_362_432, '98.4 MB'],
  [7.5e9, '7.5 GB'],
])('%j bytes read as %s', (bytes, text) => expect(sizeText(bytes)).toBe(text))

test.each([
  [400, '0s'],
  [59_400, '59s'],
  [92_000, '1m 32s'],
  [7_500_000, '2h 5m'],
])('%i ms read as %s', (ms, text) => expect(durationText(ms)).toBe(text))

test('a table is as wide as it must be, with nothing after the last column', () => {
  expect(
    table(
      ['NAME', 'STATE'],
      [
        ['a', 'ready'],
        ['longer', ''],
      ],
    ),
  ).toBe('NAME    STATE\na       ready\nlonger')
})

describe('progress', () => {
  test('shows share, amounts and the time that is left', () => {
    const text = progressText({ step: 'fetching', done: 50e6, total: 100e6, unit: 'bytes' }, 10_000)
    expect(text).toBe('fetching  [============            ] 50 %  50.0 MB of 100.0 MB  10s left')
  })

  test('of unknown length shows what is done', () => {
    expect(progressText({ step: 'fetching', done: 3, unit: 'files' }, 0)).toBe('fetching  3')
  })
})
