import { describe, expect, test } from 'vitest'
import type { ModelDemand, Replica } from '../contracts/pool.ts'
import { ManualClock } from '../core/clock.ts'
import { GatewayTables, type ReplicaTable } from './gateway-tables.ts'

class HandPool {
  readonly uses: [string, number][] = []
  readonly demands: (readonly ModelDemand[])[] = []
  private listener: (replicas: readonly Replica[]) => void = () => {}

  watchReplicas(listener: (replicas: readonly Replica[]) => void): () => void {
    this.listener = listener
    listener([])
    return () => {}
  }

  show(...replicas: Replica[]): void {
    this.listener(replicas)
  }

  reportUse(replicaId: string, inFlight: number): void {
    this.uses.push([replicaId, inFlight])
  }

  reportDemand(demand: readonly ModelDemand[]): void {
    this.demands.push(demand)
  }
}

function replica(id: string, slots: number): Replica {
  const address = { url: 'http://localhost', socketPath: '/s', apiKey: undefined }
  return {
    ...{ id, model: 'm', engineModel: 'm', engine: 'llama-server', address, slots, contextLength: 64 },
    ...{ supportsTools: false, continues: true, vocabularySize: 10, revision: 'r' },
  }
}

function tables(epoch = 3) {
  const pool = new HandPool()
  const clock = new ManualClock()
  const shared = new GatewayTables({ pool, epoch, clock })
  const watch = (id: string, uses: Parameters<typeof shared.watch>[1] = []) => {
    const seen: ReplicaTable[] = []
    const end = shared.watch(id, uses, (table) => seen.push(table))
    const slots = () => Object.fromEntries((seen.at(-1)?.replicas ?? []).map((one) => [one.id, one.slots]))
    const report = (inUse: number) =>
      shared.reportUse(id, {
        uses: [{ replicaId: 'r', inUse, slots: slots()['r'] ?? 0 }],
        version: seen.at(-1)?.version ?? 0,
      })
    return { seen, end, slots, report }
  }
  return { pool, clock, shared, watch }
}

const wants = (queued: number) => [{ model: 'm', arrivals: 1, inFlight: 0, queued }]

describe('the tables of several gateways', () => {
  test('give a gateway that is alone all slots', () => {
    const { pool, watch } = tables()
    const alone = watch('a')
    pool.show(replica('r', 4))
    expect(alone.slots()).toEqual({ r: 4 })
  })

  test('divide the slots when another one comes, once the first has confirmed it', () => {
    const { pool, watch } = tables()
    const first = watch('a')
    pool.show(replica('r', 4))
    const second = watch('b')
    expect(first.slots()).toEqual({ r: 2 })
    expect(second.slots()).toEqual({})
    first.report(1)
    expect(second.slots()).toEqual({ r: 2 })
  })

  test('move what one does not use to one that has requests waiting', () => {
    const { pool, shared, watch } = tables()
    const [first, second] = [watch('a'), watch('b')]
    pool.show(replica('r', 4))
    first.report(2)
    shared.reportDemand('a', wants(5))
    expect(second.slots()).toEqual({ r: 1 })
    second.report(0)
    expect(first.slots()).toEqual({ r: 3 })
  })

  test('believe no confirmation of an earlier table', () => {
    const { pool, shared, watch } = tables()
    const first = watch('a')
    pool.show(replica('r', 4))
    const version = first.seen.at(-1)?.version ?? 0
    const second = watch('b')
    shared.reportUse('a', { uses: [{ replicaId: 'r', inUse: 0, slots: 4 }], version })
    expect(second.slots()).toEqual({})
  })

  test('count what a gateway has from the leader before', () => {
    const { pool, watch } = tables()
    pool.show(replica('r', 4))
    const second = watch('b', [{ replicaId: 'r', inUse: 4, slots: 4 }])
    const first = watch('a')
    expect(second.slots()).toEqual({ r: 3 })
    expect(first.slots()).toEqual({})
    second.report(3)
    expect(first.slots()).toEqual({ r: 1 })
  })

  test('keep the share of one that is gone for a while, and give it to the others then', () => {
    const { pool, clock, watch } = tables()
    const [first, second] = [watch('a'), watch('b')]
    pool.show(replica('r', 4))
    second.report(2)
    second.end()
    clock.advance(9_999)
    expect(first.slots()).toEqual({ r: 2 })
    clock.advance(1)
    expect(first.slots()).toEqual({ r: 4 })
    expect(pool.uses.at(-1)).toEqual(['r', 0])
  })

  test('give one of more gateways than slots a turn when it asks', () => {
    const { pool, shared, watch } = tables()
    const all = ['a', 'b', 'c'].map((id) => watch(id))
    pool.show(replica('r', 2))
    expect(all.map(({ slots }) => slots())).toEqual([{ r: 1 }, { r: 1 }, {}])
    shared.wish('c', 'm')
    all[0]?.report(0)
    all[1]?.report(0)
    expect(all[2]?.slots()).toEqual({ r: 1 })
  })

  test('tell the pool what all of them use and want together', () => {
    const { pool, shared, watch } = tables()
    const [first, second] = [watch('a'), watch('b')]
    pool.show(replica('r', 4))
    first.report(1)
    second.report(2)
    expect(pool.uses).toEqual([
      ['r', 1],
      ['r', 3],
    ])
    shared.reportDemand('a', wants(2))
    shared.reportDemand('b', wants(3))
    expect(pool.demands.at(-1)).toEqual([{ model: 'm', arrivals: 1, inFlight: 0, queued: 5 }])
  })

  test('tell the pool of the last requests at a replica that takes no new ones', () => {
    const { pool, shared, watch } = tables()
    const first = watch('a')
    pool.show(replica('r', 4))
    first.report(2)
    pool.show()
    const version = first.seen.at(-1)?.version ?? 0
    shared.reportUse('a', { uses: [{ replicaId: 'r', inUse: 1, slots: 0 }], version })
    shared.reportUse('a', { uses: [{ replicaId: 'r', inUse: 0, slots: 0 }], version })
    expect(pool.uses).toEqual([
      ['r', 2],
      ['r', 1],
      ['r', 0],
    ])
  })

  test('tell the pool of requests from before this leader, whichever of gateway and replica comes first', () => {
    const { pool, watch } = tables()
    pool.show(replica('r', 4))
    watch('a', [
      { replicaId: 'r', inUse: 2, slots: 4 },
      { replicaId: 'late', inUse: 3, slots: 4 },
    ])
    expect(pool.uses).toContainEqual(['r', 2])
    pool.uses.length = 0
    pool.show(replica('r', 4), replica('late', 4))
    expect(pool.uses).toEqual([['late', 3]])
  })

  test('forget what a gateway used once it begins anew without it', () => {
    const { pool, watch } = tables()
    const first = watch('a')
    pool.show(replica('r', 4))
    first.report(2)
    watch('a', [])
    expect(pool.uses.at(-1)).toEqual(['r', 0])
  })

  test('tell the pool what all gateways want whichever of them reports', () => {
    const { pool, shared, watch } = tables()
    watch('a')
    watch('b')
    shared.reportDemand('a', wants(2))
    shared.reportDemand('b', [{ model: 'n', arrivals: 1, inFlight: 1, queued: 0 }])
    expect(pool.demands.at(-1)).toEqual([
      { model: 'n', arrivals: 1, inFlight: 1, queued: 0 },
      { model: 'm', arrivals: 0, inFlight: 0, queued: 2 },
    ])
  })

  test('want nothing any more for a gateway that is gone', () => {
    const { pool, clock, shared, watch } = tables()
    const first = watch('a')
    shared.reportDemand('a', wants(2))
    first.end()
    clock.advance(10_000)
    expect(pool.demands.at(-1)).toEqual([{ model: 'm', arrivals: 0, inFlight: 0, queued: 0 }])
  })

  test('are of a later version than those of any leader before', () => {
    const { watch } = tables()
    expect(watch('a').seen[0]?.version).toBeGreaterThan(3 * 100_000_000)
  })

  test('are of versions that still grow in an epoch of the year 2100, counted in minutes', () => {
    const { watch, pool } = tables(Date.UTC(2100, 0) / 60_000)
    const { seen } = watch('a')
    pool.show(replica('r', 4))
    expect(seen.at(-1)?.version).toBeGreaterThan(seen[0]?.version ?? Number.POSITIVE_INFINITY)
  })
})
