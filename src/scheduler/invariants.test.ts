import { describe, expect, test } from 'vitest'
import { device, model, plainPolicy } from '../../test/support/cluster.ts'
import { tick } from '../../test/support/told-cluster.ts'
import { seededRandom } from '../core/random.ts'
import { type Decision, decide, nextWakeMs } from './decide.ts'
import type { SchedulerEvent } from './events.ts'
import type { Policy } from './policy.ts'
import { type ClusterState, emptyCluster } from './state.ts'
import { viewOf } from './view.ts'

const everywhere = { nodes: ['node', 'other'] }

describe('invariants, over random events of several nodes', () => {
  const policies: readonly Policy[] = [
    plainPolicy,
    {
      ...plainPolicy,
      evict: { by: 'gdsf', residencyMinMs: 200, swapWaitMs: 300 },
      defragment: { enabled: true, movesMax: 3, gainMin: 1, planTimeoutMs: 3_000 },
      balance: { enabled: true, gainMin: 0 },
      prefetch: { enabled: true, wasteMax: 0.5, precisionMin: 0.1 },
      scale: { busyMax: 0.8, downAfterMs: 500 },
    },
  ]
  const seeds = [1, 2, 3, 4]

  test.each(policies.flatMap((policy) => seeds.map((seed) => ({ policy, seed }))))('seed $seed', (given) => {
    const { policy, seed } = given
    const random = seededRandom(seed)
    const below = (count: number) => Math.floor(random.uniform() * count)
    const pick = <T>(items: readonly T[]): T | undefined => items[below(items.length)]
    const specs = [20, 30, 45, 70, 90, 150].map((bytes, index) =>
      model(`m${index}`, bytes, {
        ...everywhere,
        ...{
          keepAliveMs: 700,
          splitMax: 2,
          perDeviceBytes: 5,
          replicasMax: index === 1 ? 1 : 1 + (index % 3),
        },
        ...{ pinned: index === 1, replicasMin: index === 0 ? 1 : 0, priority: index % 2 },
      }),
    )
    const devicesOf = (nodeId: string) => [
      device(`${nodeId}-0`, 100, { nodeId, kind: 'cuda', foreignBytes: below(4) === 0 ? 40 : 0 }),
      device(`${nodeId}-1`, 80, {
        nodeId,
        kind: 'cuda',
        health: pick(['ok', 'ok', 'ok', 'hot', 'lost']) ?? 'ok',
      }),
    ]
    let state = decide(emptyCluster([]), { kind: 'models-known', specs }, policy, 0).state
    const start = state
    const journal: (readonly [number, SchedulerEvent])[] = []
    const ids = new Set<string>()
    for (let nowMs = 1; nowMs < 6_000; nowMs += 1 + below(15)) {
      const one = pick(state.instances)
      const name = pick(specs)?.name ?? ''
      const nodeId = pick(['node', 'other']) ?? 'node'
      const event = pick<SchedulerEvent | undefined>([
        { kind: 'model-wanted', spec: pick(specs) ?? model('m', 1) },
        { kind: 'model-wanted', spec: pick(specs) ?? model('m', 1) },
        { kind: 'model-unwanted', model: name },
        one && { kind: 'instance-ready', instanceId: one.id },
        one && { kind: 'instance-ready', instanceId: one.id },
        one?.state === 'ready' || one?.state === 'draining'
          ? { kind: 'use-changed', instanceId: one.id, inFlight: below(3) }
          : undefined,
        one && {
          kind: 'instance-gone',
          instanceId: one.id,
          why: pick(['crashed', 'failed', 'killed', 'stopped'] as const) ?? 'stopped',
        },
        {
          kind: 'demand',
          calendarMs: 1e12 + nowMs,
          models: [{ model: name, arrivals: below(3), inFlight: below(9), queued: below(5) }],
        },
        { kind: 'devices-changed', nodeId, devices: devicesOf(nodeId) },
        below(10) === 0 ? { kind: 'node-lost', nodeId } : undefined,
        { kind: 'files-cached', nodeId, models: [name] },
        below(5) === 0 ? { kind: 'unload-asked', model: name } : undefined,
        { kind: 'defragment-asked', spec: pick(specs) ?? model('m', 1) },
        { kind: 'crashes-forgiven', model: name },
        tick,
      ])
      if (!event) continue
      journal.push([nowMs, event])
      const before = state
      const decision = decide(before, event, policy, nowMs)
      state = decision.state
      checkActions(before, decision, ids)
      checkState(state, policy, nowMs, event)
    }
    expect(ids.size).toBeGreaterThan(20)
    const replayed = journal.reduce((old, [atMs, event]) => decide(old, event, policy, atMs).state, start)
    expect(replayed, 'the events alone give the same state').toEqual(state)
  })

  function checkActions(before: ClusterState, { actions, state }: Decision, given: Set<string>): void {
    for (const action of actions) {
      if (action.kind === 'unload') {
        expect(state.instances.find(({ id }) => id === action.instanceId)?.state).toBe('unloading')
      }
      if (action.kind !== 'load') continue
      expect(given.has(action.instanceId), 'no instance id is used twice').toBe(false)
      given.add(action.instanceId)
      const healthy = new Set(state.devices.filter(({ health }) => health === 'ok').map(({ id }) => id))
      expect(action.shares.every(({ deviceId }) => healthy.has(deviceId))).toBe(true)
      const nodes = action.shares.map(
        ({ deviceId }) => state.devices.find(({ id }) => id === deviceId)?.nodeId,
      )
      expect([...new Set(nodes)], 'one instance lies on one node').toEqual([action.nodeId])
      const free = viewOf(state, 0).freeBytes
      for (const { deviceId } of action.shares) expect(free.get(deviceId)).toBeGreaterThanOrEqual(0)
    }
    for (const old of before.instances) {
      const now = state.instances.find(({ id }) => id === old.id)
      if (old.spec.pinned && old.state === 'ready' && now?.state === 'draining') {
        expect(state.models[old.spec.name]?.held, 'only the operator unloads what is pinned').toBe(true)
      }
    }
  }

  function checkState(state: ClusterState, policy: Policy, nowMs: number, event: SchedulerEvent): void {
    for (const each of state.instances) {
      if (each.state === 'loading' || each.state === 'unloading') {
        expect(each.deadlineMs).toBeGreaterThan(nowMs)
      }
      if (each.state === 'draining') expect(each.inFlight).toBeGreaterThan(0)
      // An instance goes with its device, which may have gone at this very moment.
      if (event.kind === 'devices-changed' || each.state === 'unloading') continue
      for (const { deviceId } of each.shares) {
        expect(state.devices.find(({ id }) => id === deviceId)?.health).not.toBe('lost')
      }
    }
    const names = state.waiting.map(({ spec }) => spec.name)
    expect(new Set(names).size, 'a model waits once').toBe(names.length)
    const wakeMs = nextWakeMs(state, policy, nowMs)
    const mustWake = state.instances.some(({ deadlineMs }) => deadlineMs !== undefined)
    if (mustWake) expect(wakeMs, 'whatever has a deadline is woken for').toBeDefined()
    if (state.plan) expect(wakeMs).toBeLessThanOrEqual(state.plan.deadlineMs)
  }
})
