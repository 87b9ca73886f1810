import { expect, test } from 'vitest'
import { devicesFrom, modelOfSize } from './fleet.ts'
import { PageCache } from './page-cache.ts'
import { syntheticTrace } from './traces/synthetic.ts'
import { popularityFrom, workloadOf } from './workload.ts'

const trace = syntheticTrace('synthetic:rate=50,minutes=10', { requests: undefined, seed: 1 })
const models = ['a', 'b', 'c']

test('the same work at another speed: only the times differ', () => {
  const [slow, fast] = [1, 4].map((speed) =>
    workloadOf(trace, { models, popularity: { zipf: 1 }, speed, seed: 9 }),
  )
  expect(fast?.map((request) => ({ ...request, arrivalMs: request.arrivalMs * 4 }))).toEqual(slow)
})

test('the second model is asked for half as often as the first under Zipf 1, as often under 0', () => {
  const count = (zipf: number, model: string) =>
    workloadOf(trace, { models, popularity: { zipf }, speed: 1, seed: 9 }).filter(
      (one) => one.model === model,
    ).length
  expect(count(1, 'b') / count(1, 'a')).toBeCloseTo(0.5, 1)
  expect(count(0, 'b') / count(0, 'a')).toBeCloseTo(1, 1)
})

test('a trace that names no models cannot say which', () => {
  const options = { models, popularity: 'trace', speed: 1, seed: 1 } as const
  expect(() => workloadOf(trace, options)).toThrow(/names no model/)
  expect(() => popularityFrom('zipf')).toThrow(/is no popularity/)
  expect(popularityFrom('zipf:1.5')).toEqual({ zipf: 1.5 })
})

test('devices come as they are written, and a larger model takes longer in everything', () => {
  const devices = devicesFrom('2x80GiB,24GiB', 'n')
  expect(devices.map(({ totalBytes }) => totalBytes / 2 ** 30)).toEqual([80, 80, 24])
  expect(new Set(devices.map(({ id }) => id)).size).toBe(3)
  const wishes = { nodes: ['n'], keepAliveMs: 1, replicasMax: 1, slots: 1 }
  const [small, large] = [2, 20].map((gib) =>
    modelOfSize({ ...wishes, name: `${gib}`, memoryBytes: gib * 2 ** 30 }),
  )
  expect(small?.spec.loadMs).toBe(2_500)
  expect(large?.spec.loadMs).toBe(11_500)
  expect(large?.steps.fixedMs).toBeGreaterThan(small?.steps.fixedMs ?? 0)
})

test('a page cache forgets what was read longest ago, and takes nothing larger than itself', () => {
  const cache = new PageCache(10)
  cache.read('a', 4)
  cache.read('b', 5)
  cache.read('a', 4)
  cache.read('c', 5)
  cache.read('d', 11)
  expect(cache.names).toEqual(['a', 'c'])
})
