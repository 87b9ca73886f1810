import { describe, expect, test } from 'vitest'
import { instance, model } from '../../test/support/cluster.ts'
import type { RunningEngineView } from '../contracts/node.ts'
import { emptyCluster, type Instance } from '../scheduler/state.ts'
import { adopt } from './adoption.ts'

const MIB = 2 ** 20

function running(instanceId: string, name: string): RunningEngineView {
  const address = { url: 'https://node:1', socketPath: undefined, apiKey: 'k', serverName: 'x' }
  const facts = { contextLength: 64, supportsTools: false, vocabularySize: 10, revision: 'r' }
  const shape = { slots: 4, contextLength: 64, chatTemplate: undefined, engine: undefined }
  return {
    request: { instanceId, model: name, shape, shares: [{ deviceId: 'n/cpu', bytes: 60 * MIB }] },
    engine: { engine: 'llama-server', address, shares: undefined, ...facts },
  }
}

const specs: Record<string, ReturnType<typeof model>> = {
  a: model('a', 60 * MIB),
  twice: model('twice', 60 * MIB, { replicasMax: 2 }),
}

function adoptAt(nodeId: string, engines: readonly RunningEngineView[], instances: readonly Instance[] = []) {
  return adopt({
    nodeId,
    running: engines,
    state: { ...emptyCluster([]), instances },
    specOf: ({ request }) => specs[request.model],
  })
}

describe('the engines of a node that joins', () => {
  test('are taken over under their own ids, with the memory that they have', () => {
    expect(adoptAt('n', [running('i7', 'a')])).toEqual({
      adopted: [
        { id: 'i7', spec: specs['a'], nodeId: 'n', shares: [{ deviceId: 'n/cpu', bytes: 60 * MIB }] },
      ],
      surplus: [],
      missing: [],
    })
  })

  test('go when their model is no more', () => {
    expect(adoptAt('n', [running('i7', 'unknown')])).toMatchObject({ adopted: [], surplus: ['i7'] })
  })

  test('go when their model came up elsewhere meanwhile, as often as it may', () => {
    const elsewhere = [instance(model('a', 1), 'other/cpu', { nodeId: 'other' })]
    expect(adoptAt('n', [running('i7', 'a')], elsewhere)).toMatchObject({ adopted: [], surplus: ['i7'] })
    const once = [instance(model('twice', 1), 'other/cpu', { nodeId: 'other' })]
    const both = adoptAt('n', [running('i7', 'twice'), running('i8', 'twice')], once)
    expect(both).toMatchObject({ adopted: [{ id: 'i7' }], surplus: ['i8'] })
  })

  test('go when another instance has their id by now', () => {
    const named = [instance(model('twice', 1), 'other/cpu', { id: 'i7', nodeId: 'other' })]
    expect(adoptAt('n', [running('i7', 'twice')], named)).toMatchObject({ adopted: [], surplus: ['i7'] })
  })

  test('that the pool knows stay as they are, and those that it misses are told', () => {
    const known = ['i1', 'i2'].map((id) => instance(model('twice', 1), 'n/cpu', { id, nodeId: 'n' }))
    expect(adoptAt('n', [running('i1', 'twice')], known)).toEqual({
      ...{ adopted: [], surplus: [], missing: ['i2'] },
    })
  })
})
