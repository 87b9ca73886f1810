import { expect, test } from 'vitest'
import type { Replica } from '../../contracts/pool.ts'
import { withCacheSalt } from './cache-salt.ts'
import { chatExchange } from './chat-exchange.ts'

const ours: Replica = {
  id: 'replica-1',
  model: 'tiny',
  engineModel: 'tiny',
  engine: 'llama-server',
  address: { url: 'http://localhost', socketPath: '/run/engine.sock', apiKey: 'key' },
  slots: 2,
  contextLength: 1_024,
  supportsTools: true,
  continues: true,
  vocabularySize: 1_000,
  revision: 'r1',
}
const exchange = chatExchange({ model: 'tiny', messages: [{ role: 'user', content: 'Hello' }] })

test('our engines are told projects apart, and never by their names', () => {
  const salts = [saltOf(['org_1', 'proj_1']), saltOf(['org_1', 'proj_2']), saltOf(['org_2', 'proj_1'])]
  expect(new Set(salts).size).toBe(3)
  for (const salt of salts) expect(salt).toMatch(/^[\w-]{22}$/)
})

test('a project has the same salt each time', () => {
  const owner = ['org_1', 'proj_1']
  expect(saltOf(owner)).toBe(saltOf([...owner]))
})

test.each(['vllm', 'sglang'] as const)('%s is told them as llama-server is', (engine) => {
  const owner = ['org_1', 'proj_1']
  const body = withCacheSalt(exchange, owner).body({ ...ours, engine }, { stream: false })
  expect(body['cache_salt']).toBe(saltOf(owner))
})

test('upstreams are told nothing of it', () => {
  const salted = withCacheSalt(exchange, ['org_1', 'proj_1'])
  const upstream = { ...ours, engine: 'upstream' } as const
  expect(salted.body(upstream, { stream: false })).not.toHaveProperty('cache_salt')
})

function saltOf(owner: readonly string[]): unknown {
  return withCacheSalt(exchange, owner).body(ours, { stream: false })['cache_salt']
}
