import { expect, test } from 'vitest'
import { MONEY_UNIT } from '../contracts/limits.ts'
import { formatMoney, parseMoney } from './money.ts'
import { seededRandom } from './random.ts'

test('an amount is read exactly, to the last of nine decimals', () => {
  expect(parseMoney('1')).toBe(MONEY_UNIT)
  expect(parseMoney('12.50')).toBe(12_500_000_000)
  expect(parseMoney('0.000000001')).toBe(1)
  // In doubles 0.29 * 10^9 is 289999999.99999994.
  expect(parseMoney('0.29')).toBe(290_000_000)
  expect(parseMoney('9007199.254740991')).toBe(Number.MAX_SAFE_INTEGER)
})

test.each([
  '',
  '.5',
  '1.',
  '-1',
  '+1',
  '1e3',
  '1,5',
  ' 1',
  '0.0000000001',
  '9007199.254740992',
  '12345678',
  'NaN',
])('what is no such amount is refused: %j', (text) => {
  expect(parseMoney(text)).toBeUndefined()
})

test('whatever is written is read back as the same', () => {
  const random = seededRandom(11)
  for (let round = 0; round < 10_000; round++) {
    const billionths = Math.floor(random.uniform() * 10 ** (random.uniform() * 15.95))
    expect(parseMoney(formatMoney(billionths))).toBe(billionths)
  }
  expect(formatMoney(12_500_000_000)).toBe('12.5')
  expect(formatMoney(0)).toBe('0')
})
