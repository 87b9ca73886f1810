import { describe, expect, test } from 'vitest'
import type { Sample } from '../../core/metrics/sample.ts'
import { evaluate } from './evaluate.ts'
import type { Query } from './query.ts'
import { SampleNeeds } from './sample-needs.ts'
import { SampleStore } from './samples.ts'

const HOUR = 3_600_000
const target = { instance: 'a:1', role: 'gateway' }
const depth: Query = { kind: 'gauge', combine: 'sum', metric: 'helixflow_queue_depth', by: ['model'] }
const requests: Query = { kind: 'increase', metric: 'helixflow_requests_total', windowMs: 6 * HOUR }

function waiting(model: string, value: number): Sample {
  return { name: 'helixflow_queue_depth', labels: { model }, value }
}

function answered(value: number, status = '200'): Sample {
  return { name: 'helixflow_requests_total', labels: { route: '/v1/x', model: 'm', status }, value }
}

describe('what was read', () => {
  test('is gone as soon as its process does not export it any more, or cannot be read', () => {
    const store = new SampleStore(new SampleNeeds([depth]))
    store.take(target, [waiting('m', 3), waiting('n', 4)], 10_000)
    store.take(target, [waiting('m', 5)], 20_000)
    expect(evaluate(depth, store, 25_000)).toEqual([{ labels: { model: 'm' }, value: 5 }])
    store.lose(target, 30_000)
    expect(evaluate(depth, store, 35_000)).toEqual([])
    store.take(target, [waiting('m', 6)], 40_000)
    expect(evaluate(depth, store, 45_000)).toEqual([{ labels: { model: 'm' }, value: 6 }])
  })

  test('is kept of metrics that somebody asks for, and of those buckets alone', () => {
    const metric = 'helixflow_time_to_first_token_seconds'
    const asked: Query = { kind: 'observed', metric, windowMs: HOUR, atMost: 2 }
    const needs = new SampleNeeds([asked])
    const bucket = (le: string): Sample => ({
      name: `${metric}_bucket`,
      labels: { model: 'm', le },
      value: 1,
    })
    expect(needs.of(bucket('2.0'))).toEqual({ windowMs: HOUR, counter: true })
    expect(needs.of(bucket('4.0'))).toBeUndefined()
    expect(needs.of({ ...bucket('2.0'), name: `${metric}_count` })).toBeUndefined()
    expect(needs.of(waiting('m', 1))).toBeUndefined()
  })

  test('takes no more memory after days of it, and loses no reset when old readings are thinned out', () => {
    const store = new SampleStore(new SampleNeeds([requests]))
    for (let atMs = 0; atMs <= 72 * HOUR; atMs += 10_000)
      store.take(target, [answered((atMs / 10_000) % 100)], atMs)
    expect(store.bytes).toBeLessThanOrEqual(1024 * 24)
    const [answer] = evaluate(requests, store, 72 * HOUR)
    // One each ten seconds, but where it begins again at 0.
    expect(answer?.value).toBeGreaterThan(6 * 360 * 0.98)
    expect(answer?.value).toBeLessThan(6 * 360 * 1.001)
  })

  test('has a bound, beyond which new series are counted and not kept', () => {
    const store = new SampleStore(new SampleNeeds([depth]), 1000)
    const refused = store.take(
      target,
      Array.from({ length: 50 }, (_, index) => waiting(`m${index}`, 1)),
      1000,
    )
    expect(store.bytes).toBeLessThan(1300)
    expect(refused).toBeGreaterThan(40)
    expect(evaluate(depth, store, 2000).length + refused).toBe(50)
  })

  test('has that bound also where series that are known already grow older', () => {
    const store = new SampleStore(new SampleNeeds([requests]), 4_000)
    const all = (value: number) => Array.from({ length: 10 }, (_, index) => answered(value, `${200 + index}`))
    for (let atMs = 0; atMs <= HOUR; atMs += 10_000) store.take(target, all(atMs), atMs)
    expect(store.bytes).toBeLessThan(4_400)
    expect(evaluate(requests, store, HOUR)).toHaveLength(1)
  })

  test('of what ended long ago is forgotten', () => {
    const store = new SampleStore(new SampleNeeds([depth]))
    store.take(target, [waiting('m', 1)], 1000)
    store.lose(target, 2000)
    store.forget(3000)
    expect([...store.series('helixflow_queue_depth')]).toEqual([])
    expect(store.bytes).toBe(0)
  })

  test('survives a clock that is set back', () => {
    const store = new SampleStore(new SampleNeeds([depth]))
    store.take(target, [waiting('m', 1)], 100_000)
    store.take(target, [waiting('m', 2)], 50_000)
    expect(evaluate(depth, store, 55_000)).toEqual([{ labels: { model: 'm' }, value: 2 }])
  })
})
