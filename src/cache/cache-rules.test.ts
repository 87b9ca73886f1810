import { expect, test } from 'vitest'
import { type CacheQuestion, type CacheRule, decideCaching } from './cache-rules.ts'

const QUESTION: CacheQuestion = {
  model: 'm',
  route: '/v1/chat/completions',
  deterministic: false,
  wish: undefined,
  ttlMs: undefined,
}

const decide = (rules: readonly CacheRule[], change: Partial<CacheQuestion>) =>
  decideCaching({ ttlMs: 1_000, staleMs: 10, rules }, { ...QUESTION, ...change })

test.each<[readonly CacheRule[], Partial<CacheQuestion>, boolean]>([
  [[], {}, false],
  [[], { deterministic: true }, true],
  [[], { wish: 'use' }, true],
  [[], { wish: 'refresh' }, true],
  [[], { deterministic: true, wish: 'bypass' }, false],
  [[{ mode: 'always' }], {}, true],
  [[{ mode: 'never' }], { wish: 'use' }, false],
  [[{ mode: 'never' }], { deterministic: true }, false],
  [[{ model: 'n', mode: 'never' }], { deterministic: true }, true],
  [[{ route: '/v1/embeddings', mode: 'never' }], { deterministic: true }, true],
  [[{ model: 'm', mode: 'always' }, { mode: 'never' }], {}, true],
  [[{ mode: 'never' }, { model: 'm', mode: 'always' }], {}, false],
])('under %j a request with %j takes part: %s', (rules, change, takesPart) => {
  expect(decide(rules, change) !== undefined).toBe(takesPart)
})

test('a refresh looks at nothing, and a request never lengthens the time to live of its rule', () => {
  expect(decide([], { wish: 'refresh' })).toMatchObject({ look: false, ttlMs: 1_000 })
  expect(decide([], { wish: 'use', ttlMs: 5_000 })).toMatchObject({ look: true, ttlMs: 1_000 })
  expect(decide([{ mode: 'always', ttl: 50, staleFor: 1 }], {})).toMatchObject({ ttlMs: 50, staleMs: 1 })
  expect(decide([{ mode: 'always', ttl: 50 }], { ttlMs: 20 })).toMatchObject({ ttlMs: 20, staleMs: 10 })
})
