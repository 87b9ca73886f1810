import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { device, plainPolicy } from '../../test/support/cluster.ts'
import { profile, request, scenario } from '../../test/support/scenario.ts'
import { seededRandom } from '../core/random.ts'
import { nextWakeMs } from '../scheduler/decide.ts'
import type { ClusterState } from '../scheduler/state.ts'
import { replay } from './replay.ts'
import { reportOf } from './report.ts'
import { exponential } from './samplers.ts'
import type { DecisionWatcher, Scenario } from './scenario.ts'
import { readTrace } from './traces/read-trace.ts'
import { workloadOf } from './workload.ts'

const AZURE = join(import.meta.dirname, '../../test/traces/azure-code.csv')

/** Nine models on two devices that hold five or so, with crashes, and clients that do not wait for ever. */
async function crowded(seed: number, own: Partial<Scenario> = {}): Promise<Scenario> {
  const trace = await readTrace(AZURE, { requests: 700, seed })
  const models = Array.from({ length: 9 }, (_, place) => profile(`m${place}`, 12 + 5 * place))
  const names = models.map(({ spec }) => spec.name)
  return scenario({
    devices: [device('d', 80), device('e', 80)],
    models,
    requests: workloadOf(trace, { models: names, popularity: { zipf: 1 }, speed: 1, seed }),
    gateway: { ...scenario().gateway, queueMax: 40, waitMaxMs: 30_000, patienceMs: 20_000 },
    costs: { unloadMs: 50, pageCacheBytes: 100, loadCrashChance: 0.05, crashesPerHour: 20 },
    seed,
    ...own,
  })
}

describe('a replay', () => {
  test('is the same each time from the same seed, and another one from another', async () => {
    const reports = await Promise.all(
      [4, 4, 5].map(async (seed) => {
        const one = await crowded(seed)
        return JSON.stringify(reportOf(replay(one), one))
      }),
    )
    expect(reports[0]).toBe(reports[1])
    expect(reports[0]).not.toBe(reports[2])
  })

  test.each([1, 2, 3])('ends every request exactly once, whatever fails (seed %i)', async (seed) => {
    const one = await crowded(seed)
    const { jobs } = replay(one)
    expect(jobs.map(({ request: { id } }) => id)).toEqual(one.requests.map(({ id }) => id))
    expect(jobs.filter(({ end, endMs }) => end === undefined || endMs === undefined)).toEqual([])
    const { all, served, refused, cancelled, failed } = reportOf({ ...replay(one), jobs }, one).requests
    expect(served + refused + cancelled + failed).toBe(all)
    // Else this says little.
    expect(Math.min(served, cancelled, failed + refused)).toBeGreaterThan(0)
    for (const {
      end,
      firstTokenMs,
      endMs,
      request: { arrivalMs },
    } of jobs) {
      if (end === 'served') expect(firstTokenMs).toBeGreaterThan(arrivalMs)
      expect(endMs).toBeGreaterThanOrEqual(firstTokenMs ?? arrivalMs)
    }
  })

  test.each([1, 2, 3])('keeps to what the scheduler promises, at every decision (seed %i)', async (seed) => {
    const one = await crowded(seed)
    const broken: string[] = []
    const drainedMs = new Map<string, number>()
    const watch: DecisionWatcher = ({ state, nowMs, event }) => {
      broken.push(...brokenPromises(state, one, nowMs).map((what) => `${nowMs} ${event.kind}: ${what}`))
      for (const { id, state: phase } of state.instances) {
        if ((phase === 'draining' || phase === 'unloading') && !drainedMs.has(id)) drainedMs.set(id, nowMs)
      }
    }
    const { jobs, loads } = replay(one, watch)
    expect(broken).toEqual([])
    for (const {
      instanceId,
      startedMs,
      request: { id },
    } of jobs) {
      if (instanceId === undefined || startedMs === undefined) continue
      const load = loads.find((other) => other.instanceId === instanceId)
      expect(startedMs, `request ${id}`).toBeGreaterThanOrEqual(load?.readyMs ?? Number.POSITIVE_INFINITY)
      expect(startedMs, `request ${id}`).toBeLessThanOrEqual(drainedMs.get(instanceId) ?? startedMs)
    }
  })
})

function brokenPromises(state: ClusterState, { devices, policy }: Scenario, nowMs: number): string[] {
  const broken: string[] = []
  for (const { id, totalBytes, foreignBytes } of devices) {
    const shares = state.instances.flatMap((instance) =>
      instance.shares.filter(({ deviceId }) => deviceId === id),
    )
    const usedBytes = shares.reduce((sum, { bytes }) => sum + bytes, 0)
    if (usedBytes > totalBytes - foreignBytes) broken.push(`${id} holds ${usedBytes}`)
  }
  for (const { id, state: phase, deadlineMs } of state.instances) {
    if ((phase === 'loading' || phase === 'unloading') && deadlineMs === undefined)
      broken.push(`${id} has for ever`)
  }
  const moves = state.instances.some(({ state: phase, inFlight }) => phase !== 'ready' || inFlight > 0)
  if (state.waiting.length > 0 && !moves && nextWakeMs(state, policy, nowMs) === undefined) {
    broken.push('somebody waits and nothing will come')
  }
  return broken
}

test('one slot and equal requests wait as long as the M/D/1 formula says', () => {
  const random = seededRandom(11)
  const [serviceMs, load, count] = [100, 0.7, 30_000]
  let atMs = 10_000
  const requests = Array.from({ length: count }, (_, id) => {
    atMs += exponential(random, serviceMs / load)
    return request(id, atMs, { promptTokens: 1, outputTokens: 10 })
  })
  const { spec } = profile('a', 10)
  const one = scenario({
    requests,
    models: [
      profile('a', 10, {
        spec: { ...spec, slots: 1, keepAliveMs: 1e12 },
        steps: { fixedMs: 10, perSequenceMs: 0, perPromptMs: 0, perPromptTokenMs: 0, stepTokensMax: 512 },
      }),
    ],
    gateway: { ...scenario().gateway, demandEveryMs: 60_000 },
  })
  const warm = replay(one).jobs.filter(({ cold }) => !cold)
  const waits = warm.map(({ startedMs = 0, request: { arrivalMs } }) => startedMs - arrivalMs)
  const mean = waits.reduce((sum, wait) => sum + wait, 0) / waits.length
  const expected = (load * serviceMs) / (2 * (1 - load))
  expect(Math.abs(mean / expected - 1)).toBeLessThan(0.05)
})

test('a model that is not loaded is waited for as long as its load takes, from the page cache the second time', () => {
  const { spec } = profile('a', 10)
  const once = profile('a', 10, { spec: { ...spec, keepAliveMs: 5_000 } })
  const one = scenario({ models: [once], requests: [request(1, 0), request(2, 60_000), request(3, 60_700)] })
  const outcome = replay(one)
  const waits = outcome.jobs.map(({ startedMs = 0, request: { arrivalMs } }) => startedMs - arrivalMs)
  expect(waits).toEqual([spec.loadMs, spec.cachedLoadMs, 0])
  expect(outcome.jobs.map(({ cold }) => cold)).toEqual([true, true, false])
  const report = reportOf(outcome, one)
  expect([report.loads.count, report.loads.fromPageCache, report.coldStarts.visible]).toEqual([2, 1, 2])
})

test('models that take turns in one memory each serve when they are loaded, however long the others wait', () => {
  const models = ['a', 'b', 'c'].map((name) => profile(name, 90))
  const requests = models.flatMap(({ spec }, place) => [request(place, place, { model: spec.name })])
  const plain = scenario()
  const { jobs, loads } = replay({
    ...plain,
    models,
    requests,
    gateway: { ...plain.gateway, waitMaxMs: 60_000 },
  })
  expect(jobs.map(({ end }) => end)).toEqual(['served', 'served', 'served'])
  expect(loads.map(({ model, served }) => [model, served])).toEqual([
    ['a', true],
    ['b', true],
    ['c', true],
  ])
})

test('what crashes while it loads, again and again, refuses whoever waits instead of keeping them', () => {
  const one = scenario({
    requests: [request(1, 0), request(2, 30_000)],
    policy: { ...plainPolicy, crashesMax: 3 },
    costs: { ...scenario().costs, loadCrashChance: 1 },
  })
  const { jobs, loads } = replay(one)
  expect(jobs.map(({ end }) => end)).toEqual(['refused', 'refused'])
  expect(loads.length).toBe(3)
})
