import { describe, expect, test } from 'vitest'
import { device, model, plainPolicy } from '../../test/support/cluster.ts'
import { Told, tick } from '../../test/support/told-cluster.ts'
import { nextWakeMs } from './decide.ts'
import type { Policy } from './policy.ts'
import { emptyCluster } from './state.ts'

const everywhere = { nodes: ['node', 'other'] }
const twoNodes = () => emptyCluster([device('x', 100), device('y', 100, { nodeId: 'other' })])

describe('nodes that come and go', () => {
  test('a lost node takes its instances with it, and what was in use is loaded elsewhere', () => {
    const told = new Told(twoNodes())
      .at(0, { kind: 'model-wanted', spec: model('a', 60, everywhere) })
      .at(1, { kind: 'instance-ready', instanceId: 'a-1' })
      .at(2, { kind: 'use-changed', instanceId: 'a-1', inFlight: 2 })
      .at(3, { kind: 'node-lost', nodeId: 'node' })
    expect(told.kinds).toEqual(['load a-2'])
    expect(told.one('a-2')?.nodeId).toBe('other')
    expect(told.state.devices.map(({ id }) => id)).toEqual(['y'])
  })

  test('a node that comes back brings what still runs, under names that are not given again', () => {
    const spec = model('a', 60)
    const told = new Told(emptyCluster([]))
      .at(0, { kind: 'devices-changed', nodeId: 'node', devices: [device('x', 100)] })
      .at(1, {
        kind: 'instance-adopted',
        instance: { id: 'a-7', spec, nodeId: 'node', shares: [{ deviceId: 'x', bytes: 60 }] },
      })
    expect(told.one('a-7')?.state).toBe('ready')
    told.at(2, { kind: 'model-wanted', spec: model('b', 40) })
    expect(told.kinds).toEqual(['load b-8'])
  })

  test('what waited for a model is served by one that is adopted', () => {
    const told = new Told(emptyCluster([device('x', 100)]))
      .at(0, { kind: 'model-wanted', spec: model('big', 90) })
      .at(1, { kind: 'model-wanted', spec: model('a', 60, everywhere) })
      .at(2, {
        kind: 'instance-adopted',
        instance: {
          ...{ id: 'a-9', spec: model('a', 60), nodeId: 'other' },
          shares: [{ deviceId: 'y', bytes: 60 }],
        },
      })
    expect(told.state.waiting).toEqual([])
  })

  test('a model is placed on nodes that hold its file, and nowhere else', () => {
    const told = new Told(twoNodes()).at(0, {
      kind: 'model-wanted',
      spec: model('a', 60, { nodes: ['other'] }),
    })
    expect(told.one('a-1')?.shares).toEqual([{ deviceId: 'y', bytes: 60 }])
    told.at(1, { kind: 'model-wanted', spec: model('b', 60, { nodes: ['gone'] }) })
    expect(told.decision.actions).toEqual([{ kind: 'refuse', model: 'b', refusal: { kind: 'no-device' } }])
  })
})

describe('devices', () => {
  test('of a lost device everything is ended and what was in use is loaded elsewhere', () => {
    const lost = device('x', 100, { health: 'lost' })
    const told = new Told(twoNodes())
      .at(0, { kind: 'model-wanted', spec: model('a', 60, everywhere) })
      .at(1, { kind: 'instance-ready', instanceId: 'a-1' })
      .at(1, { kind: 'use-changed', instanceId: 'a-1', inFlight: 1 })
      .at(2, { kind: 'devices-changed', nodeId: 'node', devices: [lost] })
    expect(told.kinds).toEqual(['unload a-1', 'load a-2'])
    expect(told.one('a-2')?.nodeId).toBe('other')
  })

  test('a hot device keeps what it has and gets nothing new', () => {
    const told = new Told(twoNodes())
      .at(0, { kind: 'model-wanted', spec: model('a', 30, everywhere) })
      .at(1, { kind: 'devices-changed', nodeId: 'node', devices: [device('x', 100, { health: 'hot' })] })
      .at(2, { kind: 'model-wanted', spec: model('b', 30, everywhere) })
    expect(told.one('a-1')?.state).toBe('loading')
    expect(told.one('b-2')?.shares[0]?.deviceId).toBe('y')
  })

  test('foreign memory is not given away, and idle models go when it takes theirs', () => {
    const told = new Told(emptyCluster([device('x', 100)]))
      .at(0, { kind: 'model-wanted', spec: model('a', 60) })
      .at(1, { kind: 'instance-ready', instanceId: 'a-1' })
      .at(2, { kind: 'devices-changed', nodeId: 'node', devices: [device('x', 100, { foreignBytes: 50 })] })
    expect(told.kinds).toEqual(['unload a-1'])
    told
      .at(3, { kind: 'instance-gone', instanceId: 'a-1', why: 'stopped' })
      .at(4, { kind: 'model-wanted', spec: model('a', 60) })
    expect(told.actions.filter(({ kind }) => kind === 'load')).toHaveLength(1)
  })

  test('what an engine measures takes the place of what was reserved', () => {
    const told = new Told(emptyCluster([device('x', 100)]))
      .at(0, { kind: 'model-wanted', spec: model('a', 60) })
      .at(1, { kind: 'instance-ready', instanceId: 'a-1', shares: [{ deviceId: 'x', bytes: 45 }] })
      .at(2, { kind: 'model-wanted', spec: model('b', 55) })
    expect(told.kinds).toEqual(['load b-2'])
  })
})

describe('how many', () => {
  test('the least number of a model is loaded without being asked for, and again when it dies', () => {
    const spec = model('a', 30, { replicasMin: 2, replicasMax: 2 })
    const told = new Told(emptyCluster([device('x', 100)]))
      .at(0, { kind: 'models-known', specs: [spec] })
      .at(1, { kind: 'instance-ready', instanceId: 'a-1' })
    expect(told.state.instances.map(({ id, purpose }) => [id, purpose])).toEqual([
      ['a-1', 'minimum'],
      ['a-2', 'minimum'],
    ])
    told
      .at(2, { kind: 'instance-ready', instanceId: 'a-2' })
      .at(3, { kind: 'instance-gone', instanceId: 'a-1', why: 'killed' })
    expect(told.kinds).toEqual(['load a-3'])
    expect(nextWakeMs({ ...told.state, instances: [] }, plainPolicy, 3)).toBeUndefined()
  })

  test('one of the least number that fits nowhere is refused once a minute, not at every moment', () => {
    const spec = model('a', 300, { replicasMin: 1 })
    const told = new Told(emptyCluster([device('x', 100)])).at(0, { kind: 'models-known', specs: [spec] })
    for (let nowMs = 1_000; nowMs <= 60_000; nowMs += 1_000) {
      told.at(nowMs, { kind: 'demand', calendarMs: nowMs, models: [] })
    }
    expect(told.actions.filter(({ kind }) => kind === 'refuse')).toHaveLength(2)
  })

  test('a pinned model is neither unloaded by idling nor evicted', () => {
    const told = new Told(emptyCluster([device('x', 100)]))
      .at(0, { kind: 'model-wanted', spec: model('a', 60, { pinned: true, keepAliveMs: 10 }) })
      .at(1, { kind: 'instance-ready', instanceId: 'a-1' })
      .at(1_000_000, { kind: 'model-wanted', spec: model('b', 60) })
      .at(2_000_000, tick)
    expect(told.one('a-1')?.state).toBe('ready')
  })

  test('what the operator unloads stays away until somebody asks for it', () => {
    const spec = model('a', 30, { replicasMin: 1 })
    const told = new Told(emptyCluster([device('x', 100)]))
      .at(0, { kind: 'models-known', specs: [spec] })
      .at(1, { kind: 'instance-ready', instanceId: 'a-1' })
      .at(2, { kind: 'unload-asked', model: 'a' })
      .at(3, { kind: 'instance-gone', instanceId: 'a-1', why: 'stopped' })
      .at(4, tick)
    expect(told.state.instances).toEqual([])
    told.at(5, { kind: 'model-wanted', spec })
    expect(told.kinds).toEqual(['load a-2'])
  })
})

describe('who makes room for whom', () => {
  const patient: Policy = { ...plainPolicy, evict: { by: 'lru', residencyMinMs: 0, swapWaitMs: 2_000 } }

  test('a busy model is worked off until the other has waited long enough', () => {
    const told = new Told(emptyCluster([device('x', 100)]), patient)
      .at(0, { kind: 'model-wanted', spec: model('a', 60) })
      .at(1, { kind: 'instance-ready', instanceId: 'a-1' })
      .at(2, { kind: 'use-changed', instanceId: 'a-1', inFlight: 1 })
      .at(100, { kind: 'model-wanted', spec: model('b', 60) })
    expect(told.one('a-1')?.state).toBe('ready')
    expect(nextWakeMs(told.state, patient, 100)).toBe(2_100)
    told.at(2_100, tick)
    expect(told.one('a-1')?.state).toBe('draining')
  })

  test('the one of greater priority is placed first, and age makes up for priority', () => {
    const start = () => emptyCluster([device('x', 100)])
    const wait = (told: Told, lateMs: number) =>
      told
        .at(0, { kind: 'model-wanted', spec: model('a', 100) })
        .at(1, { kind: 'instance-ready', instanceId: 'a-1' })
        .at(2, { kind: 'use-changed', instanceId: 'a-1', inFlight: 1 })
        .at(3, { kind: 'model-wanted', spec: model('low', 100, { priority: 0 }) })
        .at(lateMs, { kind: 'model-wanted', spec: model('high', 100, { priority: 5 }) })
        .at(lateMs + 1, { kind: 'use-changed', instanceId: 'a-1', inFlight: 0 })
        .at(lateMs + 2, { kind: 'instance-gone', instanceId: 'a-1', why: 'stopped' })
    expect(wait(new Told(start()), 10).kinds).toEqual(['load high-2'])
    expect(wait(new Told(start()), 60_000).kinds).toEqual(['load low-2'])
  })

  test('who waits for one node does not hold up who can go to another', () => {
    const told = new Told(twoNodes(), patient)
      .at(0, { kind: 'model-wanted', spec: model('a', 90) })
      .at(1, { kind: 'instance-ready', instanceId: 'a-1' })
      .at(2, { kind: 'use-changed', instanceId: 'a-1', inFlight: 1 })
      .at(3, { kind: 'model-wanted', spec: model('b', 90) })
      .at(4, { kind: 'model-wanted', spec: model('c', 90, { nodes: ['other'] }) })
    expect(told.kinds).toEqual(['load c-2'])
  })
})
