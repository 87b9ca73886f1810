import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { seededRandom } from '../src/core/random.ts'
import { devicesFrom, modelOfSize, randomModelBytes } from '../src/simulator/fleet.ts'
import { replay } from '../src/simulator/replay.ts'
import { reportOf } from '../src/simulator/report.ts'
import type { ModelProfile, Scenario } from '../src/simulator/scenario.ts'
import { readTrace } from '../src/simulator/traces/read-trace.ts'
import { modelsNamed, workloadOf } from '../src/simulator/workload.ts'
import { clairvoyantLoads } from './clairvoyant.ts'
import { goal, table } from './report.ts'
import { interval, intervalText, type Part, seedsFor } from './scheduling-part.ts'
import { COSTS, GATEWAY, policyWith, type SchedulerWishes } from './simulated-fleet.ts'

const GIB = 2 ** 30
const REQUESTS = 12_000
const CAPACITIES = [0.1, 0.2, 0.4] as const
const FOR_EVER_MS = 1e12

interface Peer {
  readonly settings: SchedulerWishes
  readonly keepAliveMs: number
}

const PEERS = {
  ours: { settings: { strategy: 'auto', eviction: 'gdsf', prefetch: true }, keepAliveMs: FOR_EVER_MS },
  'ours without prefetch': {
    settings: { strategy: 'auto', eviction: 'gdsf', prefetch: false },
    keepAliveMs: FOR_EVER_MS,
  },
  lru: { settings: { strategy: 'first-fit', eviction: 'lru', prefetch: false }, keepAliveMs: FOR_EVER_MS },
  'lru, 5 minutes': {
    settings: { strategy: 'first-fit', eviction: 'lru', prefetch: false },
    keepAliveMs: 300_000,
  },
} as const satisfies Record<string, Peer>

type PeerName = keyof typeof PEERS

interface Round {
  readonly seed: number
  readonly capacity: number
  readonly requests: number
  readonly peers: Readonly<Record<PeerName, { readonly coldStarts: number; readonly loads: number }>>
  readonly clairvoyantLoads: number
}

/** Two weeks of who asks for what: the first one is there to learn from, the second one counts. */
export const coldStarts: Part = async (options) => {
  const rates = options.traces && join(options.traces, 'servegen', 'language', 'm-small')
  if (!rates || !existsSync(rates)) {
    const notes = ['Cold starts are left out: --traces names no folder with servegen/language/m-small.']
    return { goals: [], summary: {}, rounds: [], notes, table: [...notes] }
  }
  const rounds: Round[] = []
  for (const seed of seedsFor(options)) {
    const trace = await readTrace(rates, { requests: REQUESTS, seed })
    const names = modelsNamed(trace)
    const requests = workloadOf(trace, { models: names, popularity: 'trace', speed: 1, seed })
    for (const capacity of options.quick ? [0.2] : CAPACITIES) {
      rounds.push(roundOf({ seed, capacity, names, requests }))
      options.say(`cold starts, seed ${seed}, capacity ${capacity}`)
    }
  }
  return resultOf(rounds)
}

interface Setting extends Pick<Scenario, 'requests'> {
  readonly seed: number
  readonly capacity: number
  readonly names: readonly string[]
}

function roundOf(setting: Setting): Round {
  const { requests, seed, capacity } = setting
  const fromMs = (requests.at(-1)?.arrivalMs ?? 0) / 2
  const profiles = profilesOf(setting, FOR_EVER_MS)
  const peers = Object.entries(PEERS).map(([name, peer]) => {
    const scenario = scenarioOf(setting, peer)
    const { coldStarts, loads } = reportOf(replay(scenario), scenario, { fromMs })
    return [name, { coldStarts: coldStarts.visible, loads: loads.count }] as const
  })
  const wanted = new Map(
    profiles.map(({ spec }) => [spec.name, { name: spec.name, bytes: spec.memoryBytes, cost: spec.loadMs }]),
  )
  const sequence = requests.flatMap(({ model }) => wanted.get(model) ?? [])
  const from = requests.findIndex(({ arrivalMs }) => arrivalMs >= fromMs)
  return {
    ...{ seed, capacity, requests: requests.length - from },
    peers: Object.fromEntries(peers) as Round['peers'],
    clairvoyantLoads: clairvoyantLoads(sequence, capacityBytes(profiles, capacity), from),
  }
}

function profilesOf({ names, seed }: Setting, keepAliveMs: number): ModelProfile[] {
  const random = seededRandom(seed)
  return names.map((name) => {
    const wishes = { name, nodes: ['node'], keepAliveMs, replicasMax: 1, slots: 8 }
    return modelOfSize({ ...wishes, memoryBytes: randomModelBytes(random) })
  })
}

/** At least what the largest needs. */
function capacityBytes(profiles: readonly ModelProfile[], capacity: number): number {
  const sizes = profiles.map(({ spec }) => spec.memoryBytes)
  return Math.max(capacity * sizes.reduce((sum, bytes) => sum + bytes, 0), ...sizes)
}

function scenarioOf(setting: Setting, { settings, keepAliveMs }: Peer): Scenario {
  const models = profilesOf(setting, keepAliveMs)
  // One device, so that nothing but what is kept decides.
  const gib = Math.ceil((100 * capacityBytes(models, setting.capacity)) / GIB) / 100
  return {
    ...{ models, devices: devicesFrom(`1x${gib}GiB`, 'node'), requests: setting.requests },
    ...{ policy: policyWith(settings), calendarStartMs: 0, seed: setting.seed },
    gateway: { ...GATEWAY, demandEveryMs: 60_000 },
    costs: { ...COSTS, pageCacheBytes: 0 },
  }
}

function resultOf(rounds: readonly Round[]) {
  const capacities = [...new Set(rounds.map(({ capacity }) => capacity))]
  const at = (capacity: number) => rounds.filter((round) => round.capacity === capacity)
  const ratio = (round: Round, what: 'coldStarts' | 'loads') =>
    round.peers.ours[what] / Math.max(1, round.peers.lru[what])
  const summary = capacities.map((capacity) => ({
    capacity,
    clairvoyantLoads: interval(at(capacity).map((round) => round.clairvoyantLoads)),
    peers: Object.keys(PEERS).map((name) => ({
      name,
      coldStarts: interval(at(capacity).map(({ peers }) => peers[name as PeerName].coldStarts)),
      loads: interval(at(capacity).map(({ peers }) => peers[name as PeerName].loads)),
    })),
  }))
  return {
    goals: capacities.flatMap((capacity) => [
      goal(
        `cold starts with room for ${capacity} of all models: ratio to LRU`,
        { atMost: 0.75 },
        at(capacity).map((round) => ratio(round, 'coldStarts')),
      ),
      goal(
        `loads for that: ratio to LRU`,
        { atMost: 1.25 },
        at(capacity).map((round) => ratio(round, 'loads')),
      ),
    ]),
    summary,
    rounds,
    notes: [
      'Cold starts: rates of 43 recorded clients (ServeGen), each taken for a model; arrivals drawn, sizes and load times made up. The first week is not counted.',
    ],
    table: table(
      ['cold starts, second week', ...capacities.map((capacity) => `${100 * capacity} % of all`)],
      [
        ...Object.keys(PEERS).map((name) => [
          name,
          ...summary.map(({ peers }) => {
            const peer = peers.find((one) => one.name === name)
            return peer ? `${intervalText(peer.coldStarts)}, ${peer.loads.mean.toFixed(0)} loads` : ''
          }),
        ]),
        ['clairvoyant, on demand', ...summary.map((one) => intervalText(one.clairvoyantLoads))],
      ],
    ),
  }
}
