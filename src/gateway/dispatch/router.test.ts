import { beforeEach, describe, expect, test } from 'vitest'
import { codeOf, HandPool, replica, routerOf, settle, wanted } from '../../../test/support/routed-pool.ts'
import { ManualClock } from '../../core/clock.ts'
import { HelixError } from '../../core/errors.ts'
import { type Metrics, noMetrics } from '../../core/metrics.ts'
import type { Lease } from './lease.ts'
import type { Router, RouterOptions } from './router.ts'

let clock: ManualClock
let pool: HandPool
let router: Router
const never = new AbortController().signal

beforeEach(() => {
  clock = new ManualClock()
  pool = new HandPool()
  observed = []
  router = makeRouter()
})

/** What was observed, as a line each. */
let observed: string[] = []
const metrics: Metrics = {
  ...noMetrics,
  set: (name, labels, value) => void observed.push(`${name} ${Object.values(labels)} ${value}`),
  observe: (name, labels, value) => void observed.push(`${name} ${Object.values(labels)} ${value}`),
}

const makeRouter = (change: Partial<RouterOptions> = {}) => routerOf({ pool, clock, metrics }, change)

const want = (slots = 1, signal = never): Promise<Lease> => router.lease(wanted({ slots, signal }))

describe('a replica', () => {
  test('with the smallest share of slots in use is chosen', async () => {
    pool.publish(replica('small', 'm', 2), replica('large', 'm', 4))
    const chosen = await Promise.all([want(), want(), want(), want()])
    expect(chosen.map((lease) => lease.replica.id)).toEqual(['small', 'large', 'large', 'small'])
  })

  test('never has more requests than slots; the next in the queue gets the one that comes free', async () => {
    pool.publish(replica('a', 'm', 1))
    const first = await want()
    const order: string[] = []
    const noted = (name: string) => (lease: Lease) => {
      order.push(name)
      return lease
    }
    const second = want().then(noted('second'))
    const third = want().then(noted('third'))
    await settle()
    expect(order).toEqual([])
    first.release()
    first.release()
    ;(await second).release()
    await third
    expect(order).toEqual(['second', 'third'])
  })

  test('tells the pool of each change of the slots in use', async () => {
    pool.publish(replica('a', 'm', 2))
    const [one, two] = await Promise.all([want(), want()])
    one?.release()
    two?.release()
    expect(pool.uses).toEqual([
      ['a', 1],
      ['a', 2],
      ['a', 1],
      ['a', 0],
    ])
  })

  test('that left the table takes no new request and ends the ones it has', async () => {
    pool.publish(replica('a', 'm', 2))
    const old = await want()
    pool.publish(replica('b', 'm', 2))
    expect((await want()).replica.id).toBe('b')
    old.release()
    expect(pool.uses.at(-1)).toEqual(['a', 0])
  })

  test('that broke a connection is passed over for a moment', async () => {
    pool.publish(replica('a', 'm', 2), replica('b', 'm', 2))
    router.suspect('a')
    const chosen = [await want(), await want()]
    expect(chosen.map((lease) => lease.replica.id)).toEqual(['b', 'b'])
    clock.advance(1_001)
    expect((await want()).replica.id).toBe('a')
  })
})

describe('a request', () => {
  test('of more choices than a replica has slots takes all of them', async () => {
    pool.publish(replica('a', 'm', 2))
    const large = await want(5)
    const next = want()
    await settle()
    large.release()
    expect((await next).replica.id).toBe('a')
  })

  test('is not overtaken by a smaller one', async () => {
    pool.publish(replica('a', 'm', 2))
    const busy = await want()
    const order: string[] = []
    void want(2).then((lease) => {
      order.push('large')
      lease.release()
    })
    const small = want().then(() => order.push('small'))
    await settle()
    busy.release()
    await small
    expect(order).toEqual(['large', 'small'])
  })

  test('is refused when the queue is full', async () => {
    pool.publish(replica('a', 'm', 1))
    await want()
    void want().catch(() => {})
    void want().catch(() => {})
    expect(await codeOf(want())).toBe('server_overloaded')
  })

  test('leaves the queue after the queue timeout', async () => {
    pool.publish(replica('a', 'm', 1))
    await want()
    const waiting = codeOf(want())
    await settle()
    clock.advance(5_000)
    expect(await waiting).toBe('queue_timeout')
  })

  test('that is cancelled frees its place', async () => {
    pool.publish(replica('a', 'm', 1))
    const busy = await want()
    const cancel = new AbortController()
    const cancelled = want(1, cancel.signal)
    const next = want()
    await settle()
    cancel.abort(new HelixError('client_closed_request', 'gone'))
    expect(await codeOf(cancelled)).toBe('client_closed_request')
    busy.release()
    expect((await next).replica.id).toBe('a')
  })

  test('waits for its model to load', async () => {
    const lease = want()
    await settle()
    expect(pool.acquired.map(({ model }) => model)).toEqual(['m'])
    pool.publish(replica('a', 'm', 1))
    pool.acquired[0]?.resolve()
    expect((await lease).replica.id).toBe('a')
  })

  test('whose model does not load in time is told how long to wait', async () => {
    const lease = want().catch((error: HelixError) => error)
    await settle()
    clock.advance(30_000)
    expect(await lease).toMatchObject({ code: 'model_loading', retryAfterMs: 2_000 })
  })

  test('in the queue of a replica that goes away waits for the next one', async () => {
    pool.publish(replica('a', 'm', 1))
    await want()
    const waiting = want()
    await settle()
    pool.publish()
    await settle()
    pool.publish(replica('b', 'm', 1))
    pool.acquired.at(-1)?.resolve()
    expect((await waiting).replica.id).toBe('b')
  })
})

describe('the slots of a replica', () => {
  test('that grow are used at once', async () => {
    pool.publish(replica('a', 'm', 1))
    await want()
    const waiting = want()
    await settle()
    pool.publish(replica('a', 'm', 2))
    expect((await waiting).replica.id).toBe('a')
  })

  test('that shrink are not handed out again until few enough are in use', async () => {
    router = makeRouter({ queueMax: 10 })
    pool.publish(replica('a', 'm', 3))
    const [one, two, three] = await Promise.all([want(), want(), want()])
    pool.publish(replica('a', 'm', 1))
    let granted = false
    const waiting = want().then(() => {
      granted = true
    })
    one?.release()
    two?.release()
    await settle()
    expect(granted).toBe(false)
    three?.release()
    await waiting
  })

  test('that are all taken away serve nobody, until there are some again', async () => {
    pool.publish(replica('a', 'm', 0))
    let granted = false
    const waiting = want().then(() => {
      granted = true
    })
    await settle()
    expect(granted).toBe(false)
    pool.publish(replica('a', 'm', 1))
    await waiting
  })
})

describe('what is asked of models', () => {
  test('is told once a second, and once more when it has ended', async () => {
    pool.publish(replica('a', 'm', 1))
    const busy = await want()
    const waiting = want()
    await settle()
    clock.advance(1_000)
    busy.release()
    const last = await waiting
    clock.advance(1_000)
    last.release()
    clock.advance(10_000)
    expect(pool.demand).toEqual([
      [{ model: 'm', arrivals: 2, inFlight: 1, queued: 1 }],
      [{ model: 'm', arrivals: 0, inFlight: 1, queued: 0 }],
      [{ model: 'm', arrivals: 0, inFlight: 0, queued: 0 }],
    ])
  })

  test('makes no metric of a name that the pool has yet to find', async () => {
    const refused = codeOf(want())
    await settle()
    // Counted just while the pool looks for it: a caller who asks for many names would make metrics of some.
    clock.advance(1_000)
    pool.acquired[0]?.reject(new HelixError('model_not_found', 'no such model'))
    expect(await refused).toBe('model_not_found')
    clock.advance(10_000)
    expect(observed).toEqual([])
  })

  test('is a metric while a model loads', async () => {
    void want()
    await settle()
    clock.advance(1_000)
    clock.advance(1_000)
    expect(observed).toEqual(['helixflow_queue_depth m 1'])
  })

  test('is not told of names that are no model', async () => {
    const refused = codeOf(want())
    await settle()
    pool.acquired[0]?.reject(new HelixError('model_not_found', 'no such model'))
    expect(await refused).toBe('model_not_found')
    clock.advance(10_000)
    expect(pool.demand).toEqual([])
    expect(observed).toEqual([])
  })
})

describe('a slot for a test of a replica', () => {
  test('is no use of it: the pool hears nothing, neither of use nor of demand', async () => {
    const a = replica('a', 'm', 2)
    pool.publish(a)
    const giveBack = router.borrow(a)
    expect(giveBack).toBeDefined()
    clock.advance(5_000)
    giveBack?.()
    expect([pool.uses, pool.demand, router.usedAtMs('a')]).toEqual([[], [], Number.NEGATIVE_INFINITY])
    const lease = await want()
    const again = router.borrow(a)
    lease.release()
    // What the pool hears of a request is of requests alone.
    expect(pool.uses).toEqual([
      ['a', 1],
      ['a', 0],
    ])
    again?.()
    expect(pool.uses).toHaveLength(2)
  })

  test('is taken from nobody: not while somebody waits, not beyond what is free, and it comes back to who waits', async () => {
    const a = replica('a', 'm', 1)
    pool.publish(a)
    const giveBack = router.borrow(a)
    expect(router.borrow(a)).toBeUndefined()
    const waiting = want()
    await settle()
    giveBack?.()
    const lease = await waiting
    const next = want()
    await settle()
    lease.release()
    expect(router.borrow(a)).toBeUndefined()
    ;(await next).release()
  })

  test('one that fails its tests is asked only while no other may be', async () => {
    pool.publish(replica('a', 'm', 2), replica('b', 'm', 2))
    router.trust('a', false)
    const leases = [await want(), await want()]
    expect(leases.map((lease) => lease.replica.id)).toEqual(['b', 'b'])
    pool.publish(replica('a', 'm', 2))
    expect((await want()).replica.id).toBe('a')
    pool.publish(replica('a', 'm', 2), replica('b', 'm', 2))
    for (const lease of leases) lease.release()
    router.trust('a', true)
    expect(new Set([(await want()).replica.id, (await want()).replica.id])).toEqual(new Set(['a', 'b']))
  })
})
