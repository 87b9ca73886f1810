import { afterEach, expect, test } from 'vitest'
import type { Replica } from '../../contracts/pool.ts'
import { EngineClients } from './engine-client.ts'

const clients = new EngineClients()
afterEach(() => clients.stop())

function replica(slots: number): Replica {
  return {
    id: 'a',
    model: 'm',
    engineModel: 'm',
    engine: 'upstream',
    address: { url: 'http://127.0.0.1:9', socketPath: undefined, apiKey: undefined },
    slots,
    contextLength: undefined,
    supportsTools: undefined,
    continues: false,
    vocabularySize: undefined,
    revision: 'r1',
  }
}

test('a replica whose slots grow gets connections for all of them, and one whose slots shrink keeps its own', () => {
  const first = clients.get(replica(2))
  clients.keepOnly([replica(1)])
  expect(clients.get(replica(1))).toBe(first)
  clients.keepOnly([replica(4)])
  const second = clients.get(replica(4))
  expect(second).not.toBe(first)
  clients.keepOnly([replica(3)])
  expect(clients.get(replica(3))).toBe(second)
})
