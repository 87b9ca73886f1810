import { expect, test } from 'vitest'
import { request, scenario } from '../../test/support/scenario.ts'
import { goodput } from './goodput.ts'
import { type Job, newJob } from './job.ts'
import { plotOf } from './plot.ts'
import type { Outcome } from './replay.ts'
import { reportOf } from './report.ts'

// Of the plain model: a prompt of 100 tokens takes 20 ms alone, each further token 11 ms.
function served(
  id: number,
  arrivalMs: number,
  [firstMs, othersMs]: readonly [number, number],
  own: Partial<Job> = {},
) {
  const firstTokenMs = arrivalMs + firstMs
  const one = newJob(request(id, arrivalMs, { promptTokens: 100, outputTokens: 11 }))
  return {
    ...one,
    end: 'served' as const,
    startedMs: arrivalMs,
    firstTokenMs,
    endMs: firstTokenMs + othersMs,
    ...own,
  }
}

function outcome(jobs: readonly Job[], own: Partial<Outcome> = {}): Outcome {
  return {
    ...{ jobs, loads: [], durationMs: 1_000, busyMs: new Map([['d', 250]]) },
    memory: { usedShare: 0.5, fragmentation: 0, failedPlacements: 0 },
    finalState: {} as Outcome['finalState'],
    ...own,
  }
}

test('in time is five times the first token and twice the others, and neither for who was not served', () => {
  const jobs = [
    served(1, 0, [100, 220]),
    served(2, 0, [101, 220]),
    served(3, 0, [100, 221]),
    { ...newJob(request(4, 0)), end: 'refused' as const, endMs: 5 },
  ]
  const { slo, requests } = reportOf(outcome(jobs), scenario())
  expect(slo).toEqual({ attainment: 0.25, firstToken: 0.5, tokens: 0.5 })
  expect(requests).toEqual({ all: 4, served: 3, refused: 1, cancelled: 0, failed: 0 })
})

test('what came before the counted part is in no figure', () => {
  const load = {
    ...{
      instanceId: 'a-1',
      model: 'a',
      purpose: 'prefetch',
      bytes: 10,
      deviceIds: ['d'],
      fromPageCache: false,
    },
    ...{ readyMs: 20, goneMs: undefined, served: false },
  }
  const loads = [
    { ...load, startedMs: 10 },
    { ...load, startedMs: 600 },
  ]
  const jobs = [
    served(1, 0, [20, 110], { cold: true }),
    served(2, 600, [40, 110]),
    served(3, 700, [60, 110], { cold: true }),
  ]
  const report = reportOf(outcome(jobs, { loads }), scenario(), { fromMs: 500 })
  expect(report.coldStarts).toEqual({ visible: 1, rate: 0.5 })
  expect(report.loads).toMatchObject({ count: 1, per1000Requests: 500, bytes: 10, prefetchedInVain: 1 })
  expect([report.firstTokenMs.warm.p50, report.firstTokenMs.cold.p50]).toEqual([40, 60])
  expect(report.durationMs).toBe(500)
})

test('the tenant that has it worst is the one whose mean slowdown is greatest', () => {
  const of = (tenant: string, one: Job): Job => ({ ...one, request: { ...one.request, tenant } })
  const jobs = [
    of('x', served(1, 0, [20, 0])),
    of('y', served(2, 0, [80, 0])),
    of('y', served(3, 0, [40, 0])),
  ]
  expect(reportOf(outcome(jobs), scenario()).tenants).toEqual({ count: 2, worstSlowdown: 3, meanSlowdown: 2 })
})

test('goodput is the speed at which attainment crosses 99 %, 0 where it never holds', () => {
  const search = { lowest: 1 / 64, highest: 64, halvings: 12 }
  expect(goodput((speed) => (speed <= 3 ? 0.995 : 0.98), search)).toBeCloseTo(3, 1)
  expect(goodput(() => 0.5, search)).toBe(0)
  expect(goodput(() => 1, search)).toBe(64)
})

test('a picture shows each load from its beginning to its end, and names are text in it', () => {
  const load = {
    ...{
      instanceId: '<a&b>-1',
      model: 'a',
      purpose: 'demand',
      bytes: 50,
      deviceIds: ['d'],
      fromPageCache: false,
    },
    ...{ startedMs: 0, readyMs: 100, goneMs: 600, served: true },
  }
  const picture = plotOf(
    outcome([served(1, 0, [120, 50], { cold: true })], { loads: [load] }),
    scenario(),
    'a < b',
  )
  expect(picture.match(/&lt;a&amp;b&gt;-1, demand/g)).toHaveLength(2)
  expect(picture).toContain('<title>a &lt; b</title>')
  expect(picture).toContain('25.0 % busy')
  expect(picture.match(/<circle/g)).toHaveLength(1)
  expect(picture).not.toMatch(/NaN|undefined|Infinity/)
})
