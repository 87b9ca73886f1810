import { expect, test } from 'vitest'
import {
  LAG_BYTES_MAX,
  LAG_TIME_MAX_MS,
  PrimaryHistory,
  positionNumber,
  tooFarBehind,
} from './replica-lag.ts'

test('places in the log compare as numbers, not as texts', () => {
  expect(positionNumber('0/9')).toBeLessThan(positionNumber('0/10'))
  expect(positionNumber('9/FFFFFFFF')).toBeLessThan(positionNumber('A/0'))
  expect(positionNumber('16/B374D848')).toBe(0x16b374d848n)
})

test('a replica that reached no known place is of unknown age, and not read', () => {
  const history = new PrimaryHistory()
  expect(history.completeUntilMs(100n)).toBeUndefined()
  history.add(100n, 0)
  expect(history.completeUntilMs(99n)).toBeUndefined()
  expect(tooFarBehind({ bytes: 1n, completeUntilMs: undefined }, 0)).toMatch('not known')
})

test('a replica is as old as the newest place that it has reached, however long the primary was idle', () => {
  const history = new PrimaryHistory()
  history.add(100n, 0)
  history.add(200n, 500)
  expect(history.completeUntilMs(150n)).toBe(0)
  history.add(200n, 60_000)
  expect(history.completeUntilMs(200n)).toBe(60_000)
  // What was known a minute ago says nothing about now.
  expect(history.completeUntilMs(150n)).toBeUndefined()
})

test('both limits hold: bytes for a burst of writing, time for a trickle', () => {
  expect(tooFarBehind({ bytes: LAG_BYTES_MAX, completeUntilMs: 0 }, LAG_TIME_MAX_MS)).toBeUndefined()
  expect(tooFarBehind({ bytes: LAG_BYTES_MAX + 1n, completeUntilMs: 0 }, 0)).toMatch('bytes behind')
  expect(tooFarBehind({ bytes: 0n, completeUntilMs: 0 }, LAG_TIME_MAX_MS + 1)).toMatch('ms behind')
})
