import { expect, test } from 'vitest'
import { seededRandom } from '../core/random.ts'
import { costOf, priceList } from './prices.ts'

test('over a million requests nothing drifts: each cost is the exact one, rounded up to a billionth', () => {
  const random = seededRandom(5)
  const below = (max: number) => Math.floor(max * random.uniform() ** 4)
  let sum = 0
  let exactSum = 0n
  let exactMillionths = 0n
  for (let request = 0; request < 1_000_000; request++) {
    const price = { input: below(2e10), cachedInput: below(2e10), output: below(1e11) }
    const usage = { promptTokens: below(200_000), completionTokens: below(100_000), cachedTokens: 0 }
    usage.cachedTokens = below(usage.promptTokens + 1)
    const millionths =
      BigInt(price.input) * BigInt(usage.promptTokens - usage.cachedTokens) +
      BigInt(price.cachedInput) * BigInt(usage.cachedTokens) +
      BigInt(price.output) * BigInt(usage.completionTokens)
    const cost = costOf(price, usage)
    const rest = BigInt(cost) * 1_000_000n - millionths
    if (rest < 0n || rest >= 1_000_000n) expect.unreachable(`${cost} for ${millionths} millionths`)
    sum += cost
    exactSum += BigInt(cost)
    exactMillionths += millionths
  }
  // A plain number holds such a sum exactly while it is below nine million.
  expect(exactSum < BigInt(Number.MAX_SAFE_INTEGER)).toBe(true)
  expect(BigInt(sum)).toBe(exactSum)
  const excess = exactSum * 1_000_000n - exactMillionths
  expect(excess >= 0n && excess < 1_000_000n * 1_000_000n).toBe(true)
})

test('a million tokens cost the price, one token the millionth part of it, rounded up', () => {
  const price = { input: 150_000_000, cachedInput: 75_000_000, output: 600_000_001 }
  const cost = (promptTokens: number, cachedTokens: number, completionTokens: number) =>
    costOf(price, { promptTokens, cachedTokens, completionTokens })
  expect(cost(1_000_000, 0, 0)).toBe(150_000_000)
  expect(cost(1_000_000, 1_000_000, 0)).toBe(75_000_000)
  expect(cost(1, 0, 0)).toBe(150)
  expect(cost(0, 0, 1)).toBe(601)
  expect(cost(0, 0, 0)).toBe(0)
  // An engine that says it knew more of the prompt than there was does not make it cheaper than nothing.
  expect(cost(10, 1_000, 0)).toBe(750)
})

test('a model has its own price, or that of any, or none', () => {
  const own = { input: 1, cachedInput: 1, output: 1 }
  const any = { input: 2, cachedInput: 2, output: 2 }
  expect(priceList({ m: own, '*': any })('m')).toBe(own)
  expect(priceList({ m: own, '*': any })('other')).toBe(any)
  expect(priceList({ m: own })('other')).toBeUndefined()
  expect(priceList({})('constructor')).toBeUndefined()
})
