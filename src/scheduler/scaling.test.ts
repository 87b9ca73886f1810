import { describe, expect, test } from 'vitest'
import { model } from '../../test/support/cluster.ts'
import { observeArrivals } from './forecast/forecast.ts'
import { replicasWanted, spareSince } from './scaling.ts'
import { type ModelHistory, type ModelSpec, NO_ARRIVALS } from './state.ts'

const policy = { busyMax: 0.8, downAfterMs: 120_000 }
const spec = model('chat', 1, { slots: 4, replicasMin: 0, replicasMax: 5, loadMs: 60_000 })

function history(own: Partial<ModelHistory>, specOwn: Partial<ModelSpec> = {}): ModelHistory {
  return {
    ...{
      spec: { ...spec, ...specOwn },
      crashes: [],
      inFlight: 0,
      queued: 0,
      spareSinceMs: undefined,
      held: false,
    },
    ...{ arrivals: NO_ARRIVALS },
    ...own,
  }
}

describe('replicasWanted', () => {
  test('adds a replica at once when more than the allowed share of slots is in use', () => {
    expect(replicasWanted(history({ inFlight: 3 }), 1, policy, 0)).toBe(1)
    expect(replicasWanted(history({ inFlight: 4 }), 1, policy, 0)).toBe(2)
    expect(replicasWanted(history({ inFlight: 4, queued: 9 }), 1, policy, 0)).toBe(5)
  })

  test('stays between the least and the greatest number', () => {
    expect(replicasWanted(history({}, { replicasMin: 2 }), 0, policy, 0)).toBe(2)
    expect(replicasWanted(history({ queued: 1_000 }), 1, policy, 0)).toBe(5)
    expect(replicasWanted(history({}), 0, policy, 0)).toBe(0)
    expect(replicasWanted(history({}), 1, policy, 0)).toBe(1)
  })

  test('takes a replica away only after it was spare for long enough, and then only what requests do not need', () => {
    const busy = history({ inFlight: 4 })
    expect(spareSince(busy, 3, policy, 1_000)).toBe(1_000)
    const spare = history({ inFlight: 4, spareSinceMs: 1_000 })
    expect(spareSince(spare, 3, policy, 90_000)).toBe(1_000)
    expect(replicasWanted(spare, 3, policy, 120_999)).toBe(3)
    expect(replicasWanted(spare, 3, policy, 121_000)).toBe(2)
    expect(spareSince(spare, 2, policy, 121_000)).toBeUndefined()
  })

  test('loads ahead while requests become more, and not while they stay as many', () => {
    const wantedAfter = (perSecond: (second: number) => number) => {
      let arrivals = NO_ARRIVALS
      for (let second = 0; second <= 1_200; second++) {
        arrivals = observeArrivals(arrivals, perSecond(second), {
          nowMs: second * 1_000,
          calendarMs: second * 1_000,
        })
      }
      return replicasWanted(history({ inFlight: 3, arrivals }), 1, policy, 1_200_000)
    }
    expect(wantedAfter(() => 1)).toBe(1)
    expect(wantedAfter((second) => (second < 1_080 ? 1 : 4))).toBe(2)
  })
})
