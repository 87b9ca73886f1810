import { describe, expect, test } from 'vitest'
import { ChatRequest } from '../contracts/openai/chat.ts'
import { parseRequest } from '../contracts/openai/parse.ts'
import { type Random, seededRandom } from '../core/random.ts'
import { canonicalRequest, type KeyParts, responseKey } from './response-key.ts'

const PARTS: KeyParts = {
  tenant: 'org_a',
  scope: 'project:p',
  model: 'm',
  revision: 'r',
  route: '/v1/chat/completions',
  request: '{}',
}

const keyOf = (request: object, change: Partial<KeyParts> = {}) =>
  responseKey({ ...PARTS, request: canonicalRequest(parseRequest(ChatRequest, request)), ...change })

/** Texts that are nearly the same, or look as if they were the end of something. */
const PIECES = [
  ...[
    'a',
    'A',
    ' ',
    '  ',
    '\u00e9',
    'e\u0301',
    '\ufb01',
    'fi',
    '\u212b',
    '\u00c5',
    'A\u030a',
    '\u200b',
    '\n',
  ],
  ...[
    '"',
    '\\"',
    '\\',
    '"}',
    '{"',
    ',',
    ':',
    '1:',
    '0:',
    '3:abc',
    '\u0000',
    '|',
    '\\u0061',
    '\u202e',
    'null',
    '[]',
  ],
]

function textFrom(random: Random): string {
  const count = 1 + Math.floor(random.uniform() * 5)
  return Array.from({ length: count }, () => PIECES[Math.floor(random.uniform() * PIECES.length)]).join('')
}

function shuffled(value: unknown, random: Random): unknown {
  if (Array.isArray(value)) return value.map((one) => shuffled(one, random))
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).map(([name, field]) => [name, shuffled(field, random)] as const)
  for (let at = entries.length - 1; at > 0; at--) {
    const other = Math.floor(random.uniform() * (at + 1))
    const [a, b] = [entries[at], entries[other]]
    if (a && b) [entries[at], entries[other]] = [b, a]
  }
  return Object.fromEntries(entries)
}

describe('ten thousand requests that are nearly the same', () => {
  const random = seededRandom(57)
  const requests = Array.from({ length: 10_000 }, () => ({
    model: 'm',
    messages: [
      { role: 'system', content: textFrom(random) },
      { role: 'user', content: textFrom(random) },
    ],
    temperature: 0,
    max_tokens: 1 + Math.floor(random.uniform() * 3),
    ...(random.uniform() < 0.2 ? { logit_bias: { '1': 1, '2': -1 } } : {}),
  }))
  /** What a request is, independent of the key. */
  const meaning = (one: (typeof requests)[number]) =>
    JSON.stringify([one.messages.map(({ content }) => content), one.max_tokens, one.logit_bias ?? null])

  test('have the same key if and only if they are the same', () => {
    const byKey = new Map<string, string>()
    const byMeaning = new Map<string, string>()
    for (const one of requests) {
      const [key, told] = [keyOf(one), meaning(one)]
      expect(byKey.get(key) ?? told).toBe(told)
      expect(byMeaning.get(told) ?? key).toBe(key)
      byKey.set(key, told)
      byMeaning.set(told, key)
    }
    expect(byKey.size).toBe(new Set(requests.map(meaning)).size)
    expect(byKey.size).toBeGreaterThan(9_000)
  })

  test('keep it in any order of fields, with and without what says nothing, streamed or not, for any user', () => {
    for (const one of requests) {
      const spelt = {
        ...(shuffled(one, random) as object),
        user: textFrom(random).replaceAll('\u0000', ''),
        top_p: null,
        stream: true,
        stream_options: { include_usage: true },
      }
      expect(keyOf(spelt)).toBe(keyOf(one))
    }
  })

  test('share no key between tenants, projects, models, revisions and routes', () => {
    const keys = new Set<string>()
    const sample = requests.slice(0, 1_000)
    const changes: Partial<KeyParts>[] = [
      {},
      { tenant: 'org_b' },
      { scope: 'project:q' },
      { model: 'n' },
      { revision: 's' },
      { route: '/v1/completions' },
    ]
    const distinct = new Set(sample.map(meaning)).size
    for (const change of changes) for (const one of sample) keys.add(keyOf(one, change))
    expect(keys.size).toBe(changes.length * distinct)
  })
})

test('no part of a key can pass for the end of its part and the beginning of the next', () => {
  const seen = new Set<string>()
  const texts = ['', '1:', '1:a', 'a', 'a1:', 'a1:a', '0:', '6:project', '"']
  for (const tenant of texts)
    for (const scope of texts)
      for (const model of texts) seen.add(responseKey({ ...PARTS, tenant, scope, model }))
  expect(seen.size).toBe(texts.length ** 3)
})

test('the order of the properties of a schema is part of a request: an engine answers in that order', () => {
  const asked = (properties: object) => ({
    model: 'm',
    messages: [{ role: 'user', content: 'x' }],
    response_format: {
      type: 'json_schema',
      json_schema: { name: 's', schema: { type: 'object', properties } },
    },
  })
  expect(keyOf(asked({ a: {}, b: {} }))).not.toBe(keyOf(asked({ b: {}, a: {} })))
})
