import { decide, nextWakeMs } from '../src/scheduler/decide.ts'
import type { SchedulerEvent } from '../src/scheduler/events.ts'
import { type ClusterState, type Device, emptyCluster, type ModelSpec } from '../src/scheduler/state.ts'
import { devicesFrom, modelOfSize } from '../src/simulator/fleet.ts'
import { goal, rounded, table } from './report.ts'
import type { Part } from './scheduling-part.ts'
import { policyWith } from './simulated-fleet.ts'

const GIB = 2 ** 30
const DEVICES = 200
const INSTANCES = 1_000
const NODES = 25

/** How long one decision takes on a large cluster that is nearly full. */
export const decisions: Part = ({ quick, say }) => {
  const policy = policyWith({ strategy: 'auto', eviction: 'gdsf' })
  const state = largeCluster(policy)
  const rounds = Object.entries(eventsOn(state)).map(([kind, event]) => {
    say(`decisions, ${kind}`)
    const timesUs: number[] = []
    const endMs = performance.now() + (quick ? 500 : 5_000)
    for (let turn = 0; turn < 3_000 && performance.now() < endMs; turn += 1) {
      const one = event(turn)
      const before = process.cpuUsage()
      const after = decide(state, one, policy, 1_000_000)
      nextWakeMs(after.state, policy, 1_000_000)
      const { user, system } = process.cpuUsage(before)
      timesUs.push(user + system)
    }
    timesUs.sort((a, b) => a - b)
    const at = (share: number) => rounded(timesUs[Math.floor(share * timesUs.length)] ?? 0)
    return { kind, count: timesUs.length, p50Us: at(0.5), p99Us: at(0.99) }
  })
  return {
    goals: rounds.map(({ kind, p50Us }) =>
      goal(`a decision about ${kind}: median us`, { atMost: 100 }, [p50Us]),
    ),
    summary: rounds,
    rounds,
    notes: [
      `Decisions: ${INSTANCES} instances of as many models on ${DEVICES} devices of ${NODES} nodes, with the next wake; time of the processor, which other programs do not lengthen.`,
    ],
    table: table(
      ['event', 'p50 us', 'p99 us'],
      rounds.map(({ kind, p50Us, p99Us }) => [kind, p50Us, p99Us]),
    ),
  }
}

function largeCluster(policy: ReturnType<typeof policyWith>): ClusterState {
  const devices = Array.from({ length: NODES }, (_, node) =>
    devicesFrom(`${DEVICES / NODES}x80GiB`, nodeName(node)),
  )
  const nodes = devices.map((_, node) => nodeName(node))
  const all: readonly Device[] = devices.flat()
  let state = emptyCluster(all)
  const known: SchedulerEvent = {
    kind: 'models-known',
    specs: Array.from({ length: INSTANCES }, (_, place) => specOf(place, nodes)),
  }
  state = decide(state, known, policy, 0).state
  for (let place = 0; place < INSTANCES; place += 1) {
    const spec = specOf(place, nodes)
    const device = all[place % DEVICES]
    if (!device) continue
    const instance = {
      ...{
        id: `${spec.name}-1`,
        spec,
        nodeId: device.nodeId,
        shares: [{ deviceId: device.id, bytes: spec.memoryBytes }],
      },
    }
    state = decide(state, { kind: 'instance-adopted', instance }, policy, 0).state
  }
  return state
}

/** Together a little less than what a device has: five of them leave a hole for a small one. */
function specOf(place: number, nodes: readonly string[]): ModelSpec {
  const wishes = { name: `model-${place}`, nodes, keepAliveMs: 1e12, replicasMax: 2, slots: 8 }
  return modelOfSize({ ...wishes, memoryBytes: (10 + (place % 5)) * GIB }).spec
}

function nodeName(node: number): string {
  return `node-${node}`
}

function eventsOn(state: ClusterState): Readonly<Record<string, (turn: number) => SchedulerEvent>> {
  const { instances } = state
  const idOf = (turn: number) => instances[turn % instances.length]?.id ?? ''
  const nodes = [...new Set(state.devices.map(({ nodeId }) => nodeId))]
  const models = instances.map(({ spec }) => ({ model: spec.name, arrivals: 1, inFlight: 1, queued: 0 }))
  const wanted = (name: string, gib: number): SchedulerEvent => {
    const wishes = { name, nodes, keepAliveMs: 1e12, replicasMax: 1, slots: 8 }
    return { kind: 'model-wanted', spec: modelOfSize({ ...wishes, memoryBytes: gib * GIB }).spec }
  }
  return {
    'use of an instance': (turn) => ({ kind: 'use-changed', instanceId: idOf(turn), inFlight: turn % 3 }),
    'a model that fits': (turn) => wanted(`new-${turn}`, 5),
    'a model that needs room': (turn) => wanted(`new-${turn}`, 40),
    'an instance that died': (turn) => ({ kind: 'instance-gone', instanceId: idOf(turn), why: 'killed' }),
    'one thousand models asked for': () => ({ kind: 'demand', calendarMs: 1_000_000, models }),
    'time alone': () => ({ kind: 'time-passed' }),
  }
}
