import { describe, expect, test } from 'vitest'
import { seededRandom } from '../core/random.ts'
import { type CachedAnswer, decodeAnswer, encodeAnswer, freshness } from './cached-answer.ts'

const ANSWER: CachedAnswer = {
  tenant: 'org_a',
  names: ['model:m', 'tag:x'],
  epoch: 3,
  storedAtMs: 1_000,
  ttlMs: 100,
  staleMs: 50,
  form: 'stream',
  usage: { promptTokens: 1, completionTokens: 2, cachedTokens: 0 },
  body: Buffer.from('data: {"\u00e9":1}\n\n'),
}

describe('an answer as bytes', () => {
  test('is the same again', () => {
    for (const one of [ANSWER, { ...ANSWER, usage: undefined }, { ...ANSWER, body: Buffer.alloc(0) }])
      expect(decodeAnswer(encodeAnswer(one))).toEqual(one)
  })

  test('that were changed anywhere, cut, or written by another version is none', () => {
    const bytes = encodeAnswer(ANSWER)
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes)
      changed[at] = (changed[at] ?? 0) ^ 1
      expect(decodeAnswer(changed), `byte ${at}`).toBeUndefined()
      expect(decodeAnswer(bytes.subarray(0, at)), `cut at ${at}`).toBeUndefined()
    }
    const random = seededRandom(1)
    const noise = Buffer.from(Array.from({ length: 100 }, () => Math.floor(random.uniform() * 256)))
    expect(decodeAnswer(noise)).toBeUndefined()
  })
})

test.each([
  [0, {}, 'fresh'],
  [99, {}, 'fresh'],
  [100, {}, 'stale'],
  [149, {}, 'stale'],
  [150, {}, 'expired'],
  [20, { ttlMs: 20 }, 'stale'],
  [19, { ttlMs: 20 }, 'fresh'],
  [25, { ttlMs: 20, staleMs: 5 }, 'expired'],
  [120, { ttlMs: 1_000, staleMs: 10 }, 'expired'],
])('after %i ms, for a request with %j, it is %s', (ageMs, change, expected) => {
  const asked = { ttlMs: 10_000, staleMs: 10_000, ...change }
  expect(freshness(ANSWER, asked, ANSWER.storedAtMs + ageMs)).toBe(expected)
})
