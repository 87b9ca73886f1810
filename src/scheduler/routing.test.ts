import { describe, expect, test } from 'vitest'
import { mooncakeExcerpt, pooledHitRatio, replayRouting } from '../../test/support/routing-replay.ts'
import { type Random, seededRandom } from '../core/random.ts'
import { PrefixIndex } from './prefix-index.ts'
import { RecentWork } from './recent-work.ts'
import { type Candidate, chooseReplica, ROUTING } from './routing.ts'

const POLICY = { ...ROUTING, slack: 0 }

function candidate(id: string, change: Partial<Candidate> = {}): Candidate {
  return { id, waitMs: 0, prefillMs: 1, hitTokens: 0, load: 0, capacity: 1, ...change }
}

function chosen(candidates: readonly Candidate[], policy = POLICY) {
  const route = chooseReplica(candidates, { promptTokens: 1_000, work: 1_000 }, policy)
  return route && [route.candidate.id, route.reason]
}

describe('a request', () => {
  test('with nowhere to go goes nowhere', () => {
    expect(chosen([])).toBeUndefined()
  })

  test('goes to the only replica however loaded that is', () => {
    expect(chosen([candidate('a', { load: 1e9, waitMs: 1e9 })])).toEqual(['a', 'only'])
  })

  test('without a known beginning goes where it begins soonest, and of equals to the one with the least work', () => {
    const slow = candidate('slow', { waitMs: 10 })
    expect(chosen([slow, candidate('a', { load: 1_000 }), candidate('b', { load: 900 })])).toEqual([
      'b',
      'least-load',
    ])
  })

  test('goes where its beginning is, as long as reading the rest elsewhere takes longer than waiting there', () => {
    const known = (waitMs: number) => candidate('known', { hitTokens: 800, waitMs })
    const justMs = 800 * ROUTING.missWeight
    expect(chosen([candidate('other', { load: 500 }), known(justMs - 1)])).toEqual(['known', 'prefix'])
    expect(chosen([candidate('other', { load: 500 }), known(justMs + 1)])).toEqual(['other', 'least-load'])
  })

  test('does not follow its beginning to a replica that has more than its share', () => {
    const known = candidate('known', { hitTokens: 1_000, load: 10_000 })
    expect(chosen([known, candidate('other', { load: 2_000 })])).toEqual(['other', 'least-load'])
    expect(chosen([known, candidate('other', { load: 8_000 })])).toEqual(['known', 'prefix'])
  })

  test('may bring a replica beyond its share by what nobody minds', () => {
    const known = candidate('known', { hitTokens: 1_000, load: 10_000 })
    expect(chosen([known, candidate('other')], { ...POLICY, slack: 10_000 })).toEqual(['known', 'prefix'])
  })

  test('finds the larger replica less loaded by the same work', () => {
    const large = candidate('large', { load: 1_500, capacity: 2 })
    expect(chosen([candidate('small', { load: 1_000 }), large])).toEqual(['large', 'least-load'])
  })
})

/** Prompts of which all have one beginning, and some a longer one. */
function randomBlocks(random: Random): number[] {
  const conversation = Math.floor(random.uniform() ** 2 * 40)
  const length = 1 + Math.floor(random.uniform() * 30)
  return Array.from({ length }, (_, at) => (at < 3 ? at : conversation * 1_000 + at))
}

describe('work', () => {
  test.each([1, 2, 3])(
    'is shared out within the bound, whatever the prompts have in common (seed %i)',
    (seed) => {
      const random = seededRandom(seed)
      const index = new PrefixIndex<number>()
      const loads = new Map(['a', 'b', 'c', 'd'].map((id) => [id, 0]))
      for (let step = 0; step < 3_000; step++) {
        const blocks = randomBlocks(random)
        const candidates = [...loads].map(([id, load]) =>
          candidate(id, { load, hitTokens: index.hits(id, blocks) }),
        )
        const request = { promptTokens: blocks.length, work: blocks.length }
        const id = chooseReplica(candidates, request, POLICY)?.candidate.id ?? ''
        loads.set(id, (loads.get(id) ?? 0) + blocks.length)
        index.note(id, blocks, 200)
      }
      const all = [...loads.values()]
      const mean = all.reduce((sum, one) => sum + one, 0) / all.length
      // One request more than the bound, for it is checked before it is sent.
      expect(Math.max(...all)).toBeLessThanOrEqual(ROUTING.loadFactor * mean + 30)
    },
  )

  test('counts half after its half-life', () => {
    const work = new RecentWork(1_000)
    work.add(100, 0)
    expect(work.at(1_000)).toBeCloseTo(50)
    work.add(50, 1_000)
    expect(work.at(3_000)).toBeCloseTo(25)
  })
})

describe('what a replica is thought to have', () => {
  test('is a beginning in one piece', () => {
    const index = new PrefixIndex<string>()
    index.note('a', ['x', 'y', 'z'], 10)
    expect(index.hits('a', ['x', 'y', 'q', 'z'])).toBe(2)
    expect(index.hits('a', ['y', 'z'])).toBe(2)
    expect(index.hits('b', ['x'])).toBe(0)
    index.forget('a')
    expect(index.hits('a', ['x'])).toBe(0)
  })

  test('loses the ends of what was not used longest first, and never exceeds its room', () => {
    const index = new PrefixIndex<string>()
    index.note('a', ['x', 'x1', 'x2'], 4)
    index.note('a', ['y', 'y1'], 4)
    expect(index.hits('a', ['x', 'x1', 'x2'])).toBe(2)
    index.note('a', ['z', 'z1', 'z2', 'z3', 'z4', 'z5'], 4)
    expect(index.hits('a', ['z', 'z1', 'z2', 'z3', 'z4', 'z5'])).toBe(4)
    expect(index.hits('a', ['x'])).toBe(0)
  })
})

describe('on recorded conversations', () => {
  const trace = mooncakeExcerpt()

  test.each([
    { replicas: 4, blocksMax: 4_000 },
    { replicas: 8, blocksMax: 2_000 },
  ])('%j find nine tenths of what one cache for all would, with the work shared out', (options) => {
    const pooled = pooledHitRatio(trace, options)
    const routed = replayRouting(trace, 'routed', options)
    const leastLoaded = replayRouting(trace, 'least-loaded', options)
    const roundRobin = replayRouting(trace, 'round-robin', options)
    expect(routed.hitRatio).toBeGreaterThanOrEqual(0.9 * pooled)
    expect(routed.imbalance).toBeLessThanOrEqual(1.2)
    for (const other of [leastLoaded, roundRobin]) {
      expect(routed.hitRatio).toBeGreaterThan(1.5 * other.hitRatio)
      expect(routed.firstTokenP50Ms).toBeLessThan(other.firstTokenP50Ms)
      expect(routed.firstTokenP95Ms).toBeLessThan(other.firstTokenP95Ms)
    }
  })

  test('the same trace is routed in the same way', () => {
    const options = { replicas: 4, blocksMax: 3_000 }
    expect(replayRouting(trace, 'routed', options)).toEqual(replayRouting(trace, 'routed', options))
  })
})
